"""Masked language modelling."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinnlp.encode.packing import Rows
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.objectives._masking import Draws, check_rates, corrupted, rate_at, settled
from clinnlp.objectives.base import Objective


@dataclass(frozen=True)
class Mlm(Objective):
    """Guess hidden tokens from both sides (Devlin et al. 2019), the masking rate falling as training goes on.

    When to use it: the default for continued pretraining. A linear fall from 30 to 15 % follows the dynamic
    rates of Ankner et al. 2024; of the chosen tokens 80 % become the mask token, 10 % a random one, and
    10 % stay. The head is applied to the masked positions only, which changes neither loss nor gradients.
    De-identification placeholders are read and never guessed.
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
        """The rows with tokens hidden one by one."""
        draws = Draws.of(rows, randoms)
        hidden = draws.below(rate_at(self.rate, self.final_rate, progress))
        hidden = settled(rows, hidden, np.ones_like(hidden), draws)
        return corrupted(rows, hidden, draws.fates, tokenizer)
