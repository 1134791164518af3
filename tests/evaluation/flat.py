"""Flat random data for the oracles: documents whose spans are runs of whole tokens, and their tags."""

import random
from collections.abc import Sequence
from pathlib import Path

from clinnlp.core.document import Document, Span

TokenSpan = tuple[int, int, str]  # first token, end token, label

LABELS = ["PROBLEM", "TEST", "MEDICATION", "a label with a long name", "X"]


def token_spans(rng: random.Random, length: int, labels: Sequence[str], density: float) -> list[TokenSpan]:
    spans, position = [], 0
    while position < length:
        if rng.random() < density:
            end = min(length, position + rng.randint(1, 4))
            spans.append((position, end, rng.choice(labels)))
            position = end
        else:
            position += 1
    return spans


def disturb(rng: random.Random, spans: list[TokenSpan], labels: Sequence[str]) -> list[TokenSpan]:
    """Drop, shorten and relabel some spans; the result stays flat."""
    changed = []
    for first, end, label in spans:
        fate = rng.random()
        if fate < 0.15:
            continue
        if fate < 0.3 and end - first > 1:
            end -= 1
        elif fate < 0.4:
            label = rng.choice(labels)
        changed.append((first, end, label))
    return changed


def tags(spans: list[TokenSpan], length: int, scheme: str = "IOB2") -> list[str]:
    found = ["O"] * length
    ends: dict[int, str] = {}
    for first, end, label in spans:
        found[first:end] = [f"I-{label}"] * (end - first)
        if scheme == "IOB2" or ends.get(first) == label:
            found[first] = f"B-{label}"
        ends[end] = label
    return found


def document(name: str, spans: list[TokenSpan], length: int) -> Document:
    """Tokens of two characters with a blank between them."""
    text = " ".join(["ab"] * length)
    return Document(name, text, tuple(Span(3 * first, 3 * end - 1, label) for first, end, label in spans))


def flat_corpus(seed: int) -> tuple[list[int], list[list[TokenSpan]], list[list[TokenSpan]]]:
    """Lengths, gold and predicted token spans of a few documents, the first with gold in it."""
    rng = random.Random(seed)
    labels = LABELS[: rng.randint(1, len(LABELS))]
    lengths = [rng.randint(3, 25) for _ in range(rng.randint(2, 8))]
    gold = [token_spans(rng, length, labels, rng.choice([0.0, 0.2, 0.5])) for length in lengths]
    gold[0] = gold[0] or [(0, 2, labels[0])]
    predicted = [
        disturb(rng, spans, labels) if rng.random() < 0.8 else token_spans(rng, length, labels, 0.3)
        for spans, length in zip(gold, lengths, strict=True)
    ]
    return lengths, gold, predicted


def documents(lengths: list[int], spans: list[list[TokenSpan]]) -> list[Document]:
    return [document(str(n), s, length) for n, (s, length) in enumerate(zip(spans, lengths, strict=True))]


def read_iob2(path: Path) -> tuple[list[int], list[list[TokenSpan]]]:
    """Sentence lengths and token spans of a CoNLL file in legal IOB2."""
    lengths, corpus = [], []
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        marks = [line.split("\t")[-1] for line in block.split("\n") if line.strip()]
        spans: list[TokenSpan] = []
        for position, mark in enumerate(marks):
            if mark.startswith("B"):
                spans.append((position, position + 1, mark[2:] or "Disease"))
            elif mark.startswith("I"):
                spans[-1] = (spans[-1][0], position + 1, spans[-1][2])
        if marks:
            lengths.append(len(marks))
            corpus.append(spans)
    return lengths, corpus
