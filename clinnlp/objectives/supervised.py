"""Entity tagging on labeled corpora, for the encoder's sake."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from clinnlp.core.document import Document
from clinnlp.encode.marks import ENTITY, FRAME, INSIDE, MarkedText
from clinnlp.encode.packing import Rows
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.errors import ConfigError
from clinnlp.objectives._sentences import hidden_size, token_vectors
from clinnlp.objectives.base import CORPUS, Objective

if TYPE_CHECKING:
    import torch

MOST = 255  # labels


@dataclass(frozen=True)
class Supervised(Objective):
    """Tag the entities of labeled corpora; the tagger is taken off afterwards and the encoder kept.

    Source: supplementary training on intermediate labeled tasks (STILTs, Phang et al. 2018), here for entities.
    Labels of several corpora may be made one by `labels`. In the rows of a corpus only its own labels are choices: what
    a corpus does not annotate is not taken for text without entities. Of overlapping entities the first counts.

    When to use it: when the target has fewer than about 500 labeled notes and other corpora of like entities are at
    hand. What the evidence says: the largest gain of the objectives here with few labels.
    """

    guesses_tokens: ClassVar[bool] = False
    dropout: ClassVar[float] = 0.1

    labels: Mapping[str, str | None] = field(default_factory=dict)
    """Label of a corpus to the label it is trained as; null leaves its entities untagged."""
    corpora: tuple[tuple[str, ...], ...] = ()
    """The labels of each corpus, after the map; by default those that occur."""

    def on(self, documents: Sequence[Document]) -> Self:
        """With the labels of these notes. Raises ConfigError if there are none, too many, or a mapped one is absent."""
        found: dict[int, set[str]] = {}
        raw = {span.label for document in documents for span in document.spans}
        if absent := sorted(set(self.labels) - raw):
            raise ConfigError(
                f"no note has the label {absent[0]!r}",
                where="objective.labels",
                next="correct the name, or leave it out",
            )
        for document in documents:
            if _corpus(document) < 0:
                continue
            found.setdefault(_corpus(document), set()).update(self._entities(document).values())
        corpora = tuple(tuple(sorted(found.get(number, ()))) for number in range(max(found, default=-1) + 1))
        count = len({label for labels in corpora for label in labels})
        if not 0 < count <= MOST:
            raise ConfigError(
                f"the notes have {count} labels of entities, 1 to {MOST} can be trained", where="objective supervised",
                next="give notes with spans, or map labels with objective.labels",
            )  # fmt: skip
        return self if self.corpora else replace(self, corpora=corpora)

    def mark(self, document: Document) -> MarkedText:
        """A note with its entities, their labels and its corpus; notes of a corpus without entities are not read."""
        number = _corpus(document)
        target = number if 0 <= number < len(self.corpora) and self.corpora[number] else -1
        entities = self._entities(document) if target >= 0 else {}
        kinds = [self._names.index(label) + 1 for label in entities.values()]
        return replace(super().mark(document), entities=tuple(entities), kinds=kinds, target=target)

    def head(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """A linear tagger; the tags are O, and B and I of every label."""
        import torch

        tagger = torch.nn.Linear(hidden_size(model), 1 + 2 * len(self._names))
        open_to = torch.zeros(len(self.corpora), tagger.out_features, dtype=torch.bool)
        open_to[:, 0] = True
        for number, labels in enumerate(self.corpora):
            for label in labels:
                first = 1 + 2 * self._names.index(label)
                open_to[number, first : first + 2] = True
        tagger.register_buffer("open_to", open_to, persistent=False)
        return tagger

    def corrupt(
        self, rows: Rows, tokenizer: NoteTokenizer, progress: float, randoms: Iterable[np.random.Generator]
    ) -> dict[str, NDArray[Any]]:
        """The rows as they are; `labels` are tags, (B, S), and `corpus` tells which a row may have, (B,)."""
        kinds = rows.kinds.astype(np.int64)
        tags = np.where(rows.marks & ENTITY, 2 * kinds - 1, np.where(rows.marks & INSIDE, 2 * kinds, 0))
        closed = ((rows.marks & FRAME) != 0) | (rows.targets < 0)[:, None]
        return {
            "input_ids": rows.ids, "pieces": rows.pieces, "positions": rows.positions,
            "corpus": np.maximum(rows.targets, 0), "labels": np.where(closed, -100, tags),
        }  # fmt: skip

    def loss(self, model: "torch.nn.Module", batch: "dict[str, torch.Tensor]", items: Any) -> "torch.Tensor":
        """Summed cross-entropy over `items` tokens."""
        import torch
        from torch.nn.functional import cross_entropy

        labels, corpus = batch.pop("labels"), batch.pop("corpus")
        tagger = self.head_of(model)
        logits = tagger(token_vectors(model, batch)).float()
        logits = logits.masked_fill(~tagger.open_to[corpus][:, None], -torch.inf)
        told = labels != -100
        total = cross_entropy(logits[told], labels[told], reduction="sum")
        return total / torch.as_tensor(items).clamp(min=1)

    @property
    def _names(self) -> list[str]:
        return sorted({label for labels in self.corpora for label in labels})

    def _entities(self, document: Document) -> dict[tuple[int, int], str]:
        """The parts of a note's entities and the label of each, mapped."""
        named = ((span, self.labels.get(span.label, span.label)) for span in document.spans)
        return {
            part: label
            for span, label in named
            if label is not None
            for part in span.fragments or ((span.start, span.end),)
        }


def _corpus(document: Document) -> int:
    return int(document.meta.get(CORPUS, 0))
