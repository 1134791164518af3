"""Entities that nest, cross or share their bounds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinnlp.core.document import Document, Span
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.packing import pad_rows
from clinnlp.encode.pairs import owned_pairs, pair_scores, spans_to_pairs
from clinnlp.encode.tags import Alignment
from clinnlp.encode.tokens import NoteTokenizer, Tokens, unit_ranges, units
from clinnlp.errors import ConfigError, IntegrityError
from clinnlp.evaluation.calibration import Calibration, calibrate, fit_calibration, uncalibrate
from clinnlp.formats.conll import ILLEGAL
from clinnlp.tasks.base import Answers, Example, Row, Task

if TYPE_CHECKING:
    import torch

    from clinnlp.evaluation.calibration_report import BeforeAndAfter

CANDIDATES = "clinnlp: spans under the threshold"  # in the meta of a document, until a threshold is chosen
FLOOR, UNTUNED = 0.05, 0.5


@dataclass(frozen=True)
class NestedNer(Task):
    """Find entities of any shape but broken ones: every span of up to `longest` words has a chance for each label.

    A biaffine head (Yu et al. 2020) in the efficient form of Su et al. (2022): how a word begins and how another ends
    a span meet in one product for all labels, and each label adds what it thinks of the two words. All of it is one
    linear layer over the tokens. Nested, crossing and overlapping spans are found, also two labels on one span;
    discontinuous ones are counted, and scored as missed, as are those of more words.
    """

    model_class: ClassVar[str] = "AutoModelForTokenClassification"
    dev_score: ClassVar[str] = "entity.strict.micro.f1"

    longest: int = 32
    """Most words of a span."""
    size: int = 64
    """Dimensions in which the two ends of a span meet; even."""
    threshold: float | None = None
    """Probability from which a span is said; null: 0.5, until the best on the dev split is known, at the end of
    training."""
    calibration: Calibration = field(default_factory=Calibration)
    """How the scores of spans become probabilities of being right; fitted on the dev split at the end of training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.longest < 1:
            raise ConfigError("must be 1 or more", where="task.longest")
        if self.size < 2 or self.size % 2:
            raise ConfigError("must be an even number of 2 or more", where="task.size")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError("is not from 0 to 1", where="task.threshold", next="choose a number from 0 to 1")

    def gold_labels(self, document: Document) -> Iterable[str]:
        return (span.label for span in document.spans)

    def outputs(self, schema: LabelSchema) -> tuple[str, ...]:
        """Begin and end of any span, then each label at the first and at the last word."""
        ends = [f"{end}-{number}" for end in ("begin", "end") for number in range(self.size)]
        return (*ends, *(f"{place}-{label}" for place in ("first", "last") for label in schema.labels))

    def examples(
        self, documents: Sequence[Document], tokenizer: NoteTokenizer, schema: LabelSchema
    ) -> tuple[list[Example], Alignment]:
        """One example per window. `targets` (S,) are 0 at the words it owns, -1 at its other words, -100 elsewhere.

        `stretches` (N, 3) are the spans it owns: first word, counted in the window, further words, label. Each pair of
        words of a note is trained in one window, with a span or without.
        """
        examples: list[Example] = []
        ledger = Alignment()
        for document, tokens in zip(documents, tokenizer.encode_many([d.text for d in documents]), strict=True):
            mark = units(document.text, tokens)
            rows = self.cut(document, tokens, tokenizer)
            owned = [_owned(row, mark, self.longest) for row in rows]
            reachable = np.zeros((int(mark.sum()), self.longest), np.bool_)
            for first, pairs in owned:
                reachable[first : first + len(pairs)] |= pairs
            spans, alignment = spans_to_pairs(document, tokens, mark, schema, self.longest, reachable)
            ledger += alignment
            for row, (first, pairs) in zip(rows, owned, strict=True):
                local = spans - (first, 0, 0)
                near = local[(local[:, 0] >= 0) & (local[:, 0] < len(pairs))]
                own = near[pairs[near[:, 0], near[:, 1]]] if len(near) else near
                if len(pairs):
                    examples.append(Example((row,), _marked(row, mark), own))
        return examples, ledger

    def classes(self, example: Example) -> frozenset[int]:
        """The labels of the entities in a window."""
        return frozenset(example.stretches[:, 2].tolist())

    def collate(self, examples: Sequence[Example], pad_id: int) -> "dict[str, torch.Tensor]":
        """`input_ids`, `attention_mask` and `labels` (B, S), 0 at owned words and -100 elsewhere; `places` (B, U).

        These are where words begin in a row, -1 behind the last; `own` (B, 2) is what a row owns, and `gold` (N, 4)
        its spans: row, first word, further words, label.
        """
        import torch

        rows = [example.rows[0] for example in examples]
        gold = [np.insert(example.stretches, 0, number, axis=1) for number, example in enumerate(examples)]
        labels = pad_rows([example.targets for example in examples], -100)
        return {
            "input_ids": torch.from_numpy(pad_rows([row.ids for row in rows], pad_id)),
            "attention_mask": torch.from_numpy(pad_rows([np.ones(len(row.ids)) for row in rows], 0)),
            "labels": torch.from_numpy(np.where(labels == 0, 0, -100)),
            "places": torch.from_numpy(pad_rows([np.flatnonzero(one.targets != -100) for one in examples], -1)),
            "own": torch.tensor([(row.owned.start, row.owned.stop) for row in rows]),
            "gold": torch.from_numpy(np.concatenate(gold)),
        }

    def loss(self, model: "torch.nn.Module", batch: "dict[str, torch.Tensor]", items: Any) -> "torch.Tensor":
        """Summed binary cross-entropy of all spans of a batch, with an entity or without, over `items` words."""
        import torch
        from torch.nn.functional import softplus

        places, own, gold = (batch.pop(name) for name in ("places", "own", "gold"))
        batch.pop("labels")
        logits = model(**batch).logits  # (B, S, C)
        vectors = logits.gather(1, places.clamp(min=0)[..., None].expand(-1, -1, logits.shape[2]))
        scores = pair_scores(vectors, self.size, self.longest)  # (B, U, longest, L)
        owned = _owned_in_batch(places, own, self.longest)
        spurious = (softplus(scores) * owned[..., None]).sum()
        return torch.div(spurious - scores[tuple(gold.T)].sum(), items)

    def decode(
        self, documents: Sequence[Document], tokens: Sequence[Tokens], answers: Sequence[Answers], schema: LabelSchema
    ) -> list[Document]:
        """The spans that each window owns with a probability from the threshold on, in text order.

        Scores are calibrated. Until a threshold is chosen, those under it are kept in the meta. Raises IntegrityError
        for logits that are no numbers.
        """
        found: list[Document] = []
        for document, t, note in zip(documents, tokens, answers, strict=True):
            mark = units(document.text, t)
            ranges = unit_ranges(document.text, t, mark)
            spans = [
                Span(
                    int(ranges[first, 0]), int(ranges[first + more, 1]), schema.labels[label], score, {"window": number}
                )
                for number, (row, logits) in enumerate(note)
                for first, more, label, score in self._read(row, logits, mark)
            ]
            spans.sort(key=lambda span: (span.start, -span.end, span.label))
            limit = UNTUNED if self.threshold is None else self.threshold
            said = tuple(span for span in spans if (span.score or 0.0) >= limit)
            meta = {name: held for name, held in document.meta.items() if name != ILLEGAL}  # of the tags in the file
            if self.threshold is None:
                meta[CANDIDATES] = [(s.start, s.end, s.label, s.score) for s in spans if (s.score or 0.0) < limit]
            found.append(replace(document, spans=said, labels=(), meta=meta))
        return calibrate(found, self.calibration)

    def _read(self, row: Row, logits: Any, mark: NDArray[np.bool_]) -> list[tuple[int, int, int, float]]:
        """(first unit of the note, further units, label, probability) of the spans of a window worth keeping."""
        import torch

        if not np.isfinite(logits).all():
            raise IntegrityError("NaN logits: the model's output is not a number", next="check the model's weights")
        first, owned = _owned(row, mark, self.longest)
        if not len(owned):
            return []
        words = np.flatnonzero(_marked(row, mark) != -100)
        with torch.inference_mode():
            vectors = torch.from_numpy(np.asarray(logits, np.float32)[None, words])
            chances = pair_scores(vectors, self.size, self.longest)[0].sigmoid().numpy()
        kept = (chances >= (FLOOR if self.threshold is None else self.threshold)) & owned[..., None]
        return [
            (first + int(start), int(more), int(label), float(chances[start, more, label]))
            for start, more, label in np.argwhere(kept)
        ]

    def perfect(
        self, documents: Sequence[Document], tokenizer: NoteTokenizer, schema: LabelSchema
    ) -> Sequence[Document]:
        """The spans that pairs of words can be, grown to the borders of words."""
        found: list[Document] = []
        for document, tokens in zip(documents, tokenizer.encode_many([d.text for d in documents]), strict=True):
            mark = units(document.text, tokens)
            ranges = unit_ranges(document.text, tokens, mark)
            known = replace(document, spans=tuple(s for s in document.spans if s.label in schema.labels))
            anywhere = np.ones((len(ranges), self.longest), np.bool_)
            pairs, _ = spans_to_pairs(known, tokens, mark, schema, self.longest, anywhere)
            spans = [Span(int(ranges[a, 0]), int(ranges[a + b, 1]), schema.labels[label]) for a, b, label in pairs]
            found.append(replace(document, spans=tuple(spans)))
        return found

    def tune(self, gold: Sequence[Document], predicted: Sequence[Document]) -> "NestedNer":
        """The threshold with the best strict F1 on the dev split, if none was given, then the calibration above it."""
        raw = uncalibrate(predicted, self.calibration)
        every = [_with_candidates(document) for document in raw]
        limit = _best(gold, every) if self.threshold is None else self.threshold
        said = [replace(d, spans=tuple(s for s in d.spans if (s.score or 0.0) >= limit)) for d in every]
        return replace(self, threshold=limit, calibration=fit_calibration(gold, said))

    def before_and_after(self, gold: Sequence[Document], predicted: Sequence[Document], seed: int) -> "BeforeAndAfter":
        """How far the scores of spans are probabilities, raw and calibrated."""
        from clinnlp.evaluation.calibration_report import before_and_after

        return before_and_after(gold, predicted, self.calibration, seed=seed)


def _marked(row: Row, mark: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The words of a row, (S,): 0 where the window owns one, -1 where another does, -100 at what begins no word."""
    marked = np.full(len(row.ids), -100, np.int64)
    marked[row.before : row.before + len(row.window)][mark[row.window.first : row.window.last]] = -1
    owned = marked[row.owned]
    owned[owned == -1] = 0
    return marked


def _owned(row: Row, mark: NDArray[np.bool_], longest: int) -> tuple[int, NDArray[np.bool_]]:
    """The number of the first word of a window, and which pairs of its words it owns."""
    places = np.flatnonzero(_marked(row, mark) != -100)
    return int(mark[: row.window.first].sum()), owned_pairs(places, row.owned.start, row.owned.stop, longest)


def _owned_in_batch(places: "torch.Tensor", own: "torch.Tensor", longest: int) -> "torch.Tensor":
    """As `owned_pairs`, of all rows of a batch: (B, U, longest)."""
    import torch

    step = torch.arange(places.shape[1], device=places.device)
    ends = step[:, None] + torch.arange(longest, device=places.device)
    last = places[:, ends.clamp(max=places.shape[1] - 1)]
    middle = (places[..., None] + last) // 2
    there = (ends < places.shape[1]) & (last >= 0) & (places >= 0)[..., None]
    return there & (middle >= own[:, 0, None, None]) & (middle < own[:, 1, None, None])


def _with_candidates(document: Document) -> Document:
    """The document with the spans under the threshold among the others."""
    return replace(document, spans=(*document.spans, *(Span(*one) for one in document.meta.get(CANDIDATES, ()))))


def _best(gold: Sequence[Document], every: Sequence[Document]) -> float:
    """The threshold on the scores of all candidates with the best strict F1; 0.5 where none is right."""
    from clinnlp.evaluation.decisions import span_decisions
    from clinnlp.evaluation.pairing import pair
    from clinnlp.evaluation.ranking import Ranking

    decisions = span_decisions(pair(gold, every))
    ranking = Ranking.of(decisions.correct, decisions.scores)
    found = ranking.best_threshold(missed=int(decisions.gold.sum()) - ranking.positives)
    return UNTUNED if found is None else max(float(found), FLOOR)
