"""The head first, then another strategy."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clinnlp.errors import ConfigError
from clinnlp.plugins import find
from clinnlp.strategies.base import Strategy

if TYPE_CHECKING:
    import torch


def _lora() -> Strategy:
    found: Strategy = find("strategies", "lora")()
    return found


@dataclass(frozen=True)
class LinearProbeThen(Strategy):
    """The head alone for a share of the steps, then another strategy: a fresh head spoils less (Kumar et al. 2022)."""

    share: float = 0.1
    """Share of the steps in which the head moves alone."""
    then: Strategy = field(default_factory=_lora)
    """What follows, with its options (--strategy.then.rank 8); its learning rate and epochs are the defaults."""

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError("must be a share between 0 and 1", where="strategy.share")
        if self.then.head_learning_rate is not None:
            raise ConfigError(
                "the head has one rate for the whole run",
                where="strategy.then.head_learning_rate",
                next="give it as --strategy.head_learning_rate",
            )

    @property
    def default_learning_rate(self) -> float:  # type: ignore[override]
        """That of what follows."""
        return self.then.default_learning_rate

    @property
    def default_epochs(self) -> float:  # type: ignore[override]
        """That of what follows."""
        return self.then.default_epochs

    @property
    def caches(self) -> bool:
        """As the strategy that follows."""
        return self.then.caches

    def apply(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """As the strategy that follows."""
        return self.then.apply(model)

    def moving(self, levels: Mapping[str, int], progress: float) -> Collection[str]:
        """The head, then what moves in the strategy that follows, for which the rest of the steps is the whole."""
        if progress >= self.share:
            return self.then.moving(levels, (progress - self.share) / (1 - self.share))
        head = max(levels.values())
        return {name for name, level in levels.items() if level == head}

    def rate_of(self, name: str) -> float:
        """As in the strategy that follows."""
        return self.then.rate_of(name)

    def finish(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """As the strategy that follows."""
        return self.then.finish(model)
