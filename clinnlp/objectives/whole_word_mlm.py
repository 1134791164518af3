"""Masked language modelling of whole words."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinnlp.encode.marks import WORD
from clinnlp.encode.packing import Rows
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.objectives._masking import Draws, check_rates, corrupted, rate_at, settled, spread
from clinnlp.objectives.base import Objective


@dataclass(frozen=True)
class WholeWordMlm(Objective):
    """Guess hidden words: all tokens of a word are hidden together, so that none gives away the others.

    Source: whole word masking of BERT (released in 2019 with Devlin et al. 2019), here by the characters that tokens
    cover, so that it means the same under every tokenizer: a word is a run of letters and digits or any other visible
    character. Each word is hidden with the chance of the rate, so a token is too.

    When to use it: clinical terms that a vocabulary cuts into many pieces ("lisin-op-ril"), where a piece is guessed
    from its neighbours alone. What the evidence says: little is gained over `mlm` at the higher rates that are the
    default here; an option to try where fertility on entities is high. It costs no time.
    """

    rate: float = 0.30
    """Share of tokens to guess at the start of training."""
    final_rate: float = 0.15
    """Share of tokens to guess at the end; between the two it changes linearly."""

    def __post_init__(self) -> None:
        check_rates(self.rate, self.final_rate)

    def corrupt(
        self, rows: Rows, tokenizer: NoteTokenizer, progress: float, randoms: Iterable[np.random.Generator]
    ) -> dict[str, NDArray[Any]]:
        """The rows with words hidden one by one."""
        draws = Draws.of(rows, randoms)
        begins = (rows.marks & WORD) != 0
        hidden = spread(draws.below(rate_at(self.rate, self.final_rate, progress)) & begins, begins)
        return corrupted(rows, settled(rows, hidden, begins, draws), draws.fates, tokenizer)
