"""Masked language modelling of entities."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from clinnlp.core.document import Document
from clinnlp.encode.marks import CLOSED, ENTITY, INSIDE, MarkedText, Ranges
from clinnlp.encode.packing import Rows
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.errors import ConfigError
from clinnlp.objectives._masking import CHANCES, Draws, check_rates, corrupted, rate_at, settled, spread
from clinnlp.objectives.base import Objective
from clinnlp.text.gazetteer import Gazetteer


@dataclass(frozen=True)
class EntityMlm(Objective):
    """Guess hidden entities: whole entities are hidden first, then other tokens up to the rate.

    Source: after EntityBERT (Lin et al. 2021), which went on from PubMedBERT on MIMIC-III with entities and times
    hidden more often than other words, and MSLM (2024), which hides and weighs domain terms. Entities are the spans
    of the notes, of annotators or of a model (`clinnlp label`), and what a gazetteer finds; those that overlap count
    as one, and the parts of a discontinuous one as entities of their own.

    When to use it: before entity extraction, negation or relations, where a tagger or a word list is at hand. What
    the evidence says: better than random masking on negation, document time and temporal relations in EntityBERT,
    from the same start as a continued biomedical model here; not yet measured by us.
    """

    rate: float = 0.30
    """Share of tokens to guess at the start of training."""
    final_rate: float = 0.15
    """Share of tokens to guess at the end; between the two it changes linearly."""
    share: float = 0.5
    """Share of the guessed tokens that are to be of entities, as far as there are so many."""
    gazetteer: Path | None = None
    """A file with one surface a line: where these words stand, in small or capital letters, there is an entity too."""

    def __post_init__(self) -> None:
        check_rates(self.rate, self.final_rate)
        if not 0 < self.share <= 1:
            raise ConfigError("must be a share over 0, at most 1", where="objective.share")

    def files(self) -> tuple[Path, ...]:
        """The gazetteer."""
        return () if self.gazetteer is None else (self.gazetteer,)

    def on(self, documents: Sequence[Document]) -> Self:
        """Raises ConfigError if no note holds an entity."""
        if any(self._entities(document) for document in documents):
            return self
        looked = "and the gazetteer finds none" if self.gazetteer else "and no gazetteer is given"
        raise ConfigError(
            f"the notes hold no annotated spans, {looked}", where="objective entity_mlm",
            next="give --objective.gazetteer FILE (one surface a line), or notes with spans, as `clinnlp label` makes "
            "them, or take objective whole_word_mlm",
        )  # fmt: skip

    def mark(self, document: Document) -> MarkedText:
        """A note with its spans and what the gazetteer finds in it."""
        return replace(super().mark(document), entities=self._entities(document))

    def corrupt(
        self, rows: Rows, tokenizer: NoteTokenizer, progress: float, randoms: Iterable[np.random.Generator]
    ) -> dict[str, NDArray[Any]]:
        """The rows with entities hidden, and other tokens."""
        draws = Draws.of(rows, randoms)
        able, entity = rows.marks < CLOSED, (rows.marks & (ENTITY | INSIDE)) != 0
        begins = (rows.marks & INSIDE) == 0
        every, inside = able.sum(axis=1), (able & entity).sum(axis=1)
        wanted = rate_at(self.rate, self.final_rate, progress) * every
        heads = (rows.marks & ENTITY) != 0
        hidden = spread(heads & _below(draws, self.share * wanted, inside), begins) & able
        left = wanted - hidden.sum(axis=1)
        hidden |= ~entity & _below(draws, left, every - inside)
        return corrupted(rows, settled(rows, hidden, begins, draws), draws.fates, tokenizer)

    def _entities(self, document: Document) -> Ranges:
        spans = [part for span in document.spans for part in span.fragments or ((span.start, span.end),)]
        return spans + (self._surfaces.find(document.text) if self._surfaces else [])

    @cached_property
    def _surfaces(self) -> Gazetteer | None:
        return None if self.gazetteer is None else Gazetteer.read(self.gazetteer)


def _below(draws: Draws, wanted: NDArray[np.float64], there: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Positions picked such that of `there` tokens of a row about `wanted` are."""
    return draws.chances < (CHANCES * wanted / np.maximum(there, 1))[:, None]
