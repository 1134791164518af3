"""Full fine-tuning."""

from dataclasses import dataclass
from typing import ClassVar

from clinnlp.strategies.base import Strategy


@dataclass(frozen=True)
class Full(Strategy):
    """All weights move: the reference that every cheaper strategy is compared with (Devlin et al. 2019)."""

    default_learning_rate: ClassVar[float] = 3e-5
    default_epochs: ClassVar[float] = 8
    needs_base: ClassVar[bool] = False
