"""Synthetic notes with sections, negations and surface forms, and predictors with one planted weakness."""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace

from clinnlp.core.document import Document, Span
from clinnlp.evaluation.properties import Slicing, Surfaces
from clinnlp.text.negation import polarity
from clinnlp.text.sections import section_names

SECTIONS = ["HISTORY OF PRESENT ILLNESS:", "Past medical history:", "MEDICATIONS", "Impression:", "PLAN"]
LABELS = ["PROBLEM", "TEST", "DRUG", "DOSE"]
TYPES = ["discharge", "progress", "radiology"]
AFFIRMED = ["She has ", "He was seen for ", "There was ", "Follow up of "]
NEGATED = ["She denies ", "No evidence of ", "He left without "]
ENDS = [" on the day of the visit.", ", which has been known for years.", " today.", ".\n"]
STEMS = [a + b for a in ("cardio", "neuro", "nephro", "osteo", "derma") for b in ("pathy", "itis", "megaly", "algia")]
SEEN = [stem + tail for stem in STEMS for tail in ("", " of the knee")]
UNSEEN = [f"rare {stem}" for stem in STEMS]


def note(rng: random.Random, number: int) -> Document:
    """One of two notes of a patient, of 5 to 40 spans; each property of a span is drawn by itself."""
    text, spans = "", []
    for place in range(rng.choice([5, 10, 20, 40])):
        if place % 5 == 0:
            text += f"\n{rng.choice(SECTIONS)}\n"
        text += rng.choice(NEGATED if rng.random() < 0.3 else AFFIRMED)
        surface = rng.choice(UNSEEN if rng.random() < 0.25 else SEEN)
        spans.append(Span(len(text), len(text) + len(surface), rng.choice(LABELS)))
        text += surface + rng.choice(ENDS) + " "
    return Document(str(number), text, tuple(spans), group=f"p{number // 2}", meta={"note_type": rng.choice(TYPES)})


def notes(count: int, seed: int = 0) -> list[Document]:
    rng = random.Random(seed)
    return [note(rng, number) for number in range(count)]


def how(resamples: int = 400, window: int | None = None) -> Slicing:
    """All ways to slice; training held each seen form often, under every label."""
    text = " ".join(SEEN)
    training = [
        Document("t", text, tuple(Span(text.index(s), text.index(s) + len(s), label) for s in SEEN for label in LABELS))
    ]
    return Slicing(section_names, polarity, Surfaces.of(training * 2), window=window, resamples=resamples)


def predict(
    documents: Iterable[Document], blind: Callable[[Document, Span], bool], seed: int = 1, noise: float = 0.1
) -> list[Document]:
    """Gold without the spans a predictor is blind to, and with some random errors of all kinds."""
    rng = random.Random(seed)
    predicted = []
    for document in documents:
        spans: list[Span] = []
        for span in document.spans:
            fate = rng.random() / noise
            if blind(document, span) or fate < 0.4:
                continue
            if fate < 0.6:
                span = replace(span, end=span.end - 1)
            elif fate < 0.8:
                span = replace(span, label=rng.choice(LABELS))
            elif fate < 1:
                spans.append(replace(span, start=span.start - 3, end=span.start - 1, label=rng.choice(LABELS)))
            spans.append(span)
        predicted.append(replace(document, spans=tuple(spans), group=None, meta={}))
    return predicted
