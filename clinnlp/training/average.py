"""Averages of weights, which are scored and kept in place of the last ones."""

from collections.abc import Mapping

import torch

from clinnlp.training.settings import FitSettings

Tensors = dict[str, torch.Tensor]


class Average:
    """No average: the weights as they are. `held` is what a checkpoint must hold of it."""

    def __init__(self, weights: Mapping[str, torch.Tensor]) -> None:
        self.weights, self.held = weights, Tensors()

    def after_step(self, step: int) -> None:
        """Take in the weights as they are after an optimizer step, the first being 1."""

    def at_evaluation(self, step: int) -> None:
        """Take in the weights of a step at which the model is scored."""

    def go_on_from(self, held: Tensors) -> None:
        """Be where a checkpoint was."""
        for name, tensor in held.items():
            self.held[name].copy_(tensor)

    def mean(self) -> Tensors:
        """What stands in place of the weights; empty where they stand for themselves."""
        return {}


class Ema(Average):
    """An exponential moving average over all steps, with a shorter memory at first (Polyak and Juditsky 1992)."""

    def __init__(self, weights: Mapping[str, torch.Tensor], decay: float) -> None:
        super().__init__(weights)
        self.decay = decay
        self.held = {name: weight.detach().clone() for name, weight in weights.items()}

    def after_step(self, step: int) -> None:
        """Move towards the weights, by a decay of at most (1 + step) / (10 + step): the untrained ones fade fast."""
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, weight in self.weights.items():
                self.held[name].lerp_(weight, 1 - decay)

    def mean(self) -> Tensors:
        """The moving average."""
        return self.held


class MeanOfLast(Average):
    """The plain mean of the weights of the last evaluations (Izmailov et al. 2018)."""

    def __init__(self, weights: Mapping[str, torch.Tensor], count: int) -> None:
        super().__init__(weights)
        self.count = count

    def at_evaluation(self, step: int) -> None:
        """Keep the weights of this step; the oldest go."""
        self.held |= {f"{step}:{name}": weight.detach().cpu().clone() for name, weight in self.weights.items()}
        kept = self._steps()[-self.count :]
        self.held = {key: weight for key, weight in self.held.items() if int(key.partition(":")[0]) in kept}

    def go_on_from(self, held: Tensors) -> None:
        """Be where a checkpoint was."""
        self.held = held

    def mean(self) -> Tensors:
        """The mean of those that are kept; empty before the first."""
        steps = self._steps()
        names = self.weights if steps else ()
        return {name: torch.stack([self.held[f"{step}:{name}"] for step in steps]).mean(0) for name in names}

    def _steps(self) -> list[int]:
        return sorted({int(key.partition(":")[0]) for key in self.held})


def average_of(weights: Mapping[str, torch.Tensor], settings: FitSettings) -> Average:
    """The average that the settings ask for."""
    if settings.average == "ema":
        return Ema(weights, settings.ema_decay)
    if settings.average == "last":
        return MeanOfLast(weights, settings.average_last)
    return Average(weights)
