"""The training loop: exact under accumulation, keeps the best, stops early, refuses NaN."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from clinnlp.errors import ConfigError, IntegrityError
from clinnlp.training.fit import Fit, fit, plan_steps
from clinnlp.training.loader import Draw
from clinnlp.training.settings import FitSettings, SupervisedFit


def squares(model: torch.nn.Module, batch: dict[str, torch.Tensor], items: Any) -> torch.Tensor:
    return torch.div(((model(batch["x"]) - batch["labels"]) ** 2).sum(), items)


class Points:
    """Forty points of y = 3x, with lengths that differ."""

    def __init__(self, loss: Any = squares) -> None:
        self.lengths = np.arange(40, dtype=np.int64) % 7 + 1
        self.drawn: list[tuple[int, int]] = []
        self.loss = loss

    def example(self, draw: Draw) -> tuple[float, float]:
        self.drawn.append((draw.epoch, draw.index))
        return (draw.index / 40, 3 * draw.index / 40)

    def collate(self, rows: list[tuple[float, float]]) -> dict[str, torch.Tensor]:
        x, y = torch.tensor(rows).T
        return {"x": x, "labels": y}


class Line(torch.nn.Module):
    """One weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x


def run(settings: FitSettings, score: Any = None, loss: Any = squares, model: Any = None) -> tuple[Line, Fit, Points]:
    model, source = model or Line(), Points(loss)
    groups = [{"params": list(model.parameters()), "lr": settings.learning_rate or 0.1}]
    return model, fit(model, source, groups, settings, 1, score), source


def cpu(**options: Any) -> FitSettings:
    return FitSettings(**{"device": "cpu", "precision": "fp32", "batch": 8, "epochs": 4, "weight_decay": 0.0} | options)


def test_it_learns_and_tells_what_it_did() -> None:
    model, told, _ = run(cpu(epochs=20, learning_rate=0.2))
    assert model.weight.item() == pytest.approx(3.0, abs=0.1)
    assert (told.steps, told.device, told.precision) == (100, "cpu", "fp32")
    losses = [row["loss"] for row in told.history]
    assert losses[-1] < 0.05 * losses[0]
    assert not model.training


def test_every_example_once_in_each_epoch_in_another_order() -> None:
    _, _, source = run(cpu(epochs=2))
    first, second = ([index for epoch, index in source.drawn if epoch == e] for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second


def test_the_same_seed_gives_the_same_weights() -> None:
    weights = [run(cpu())[0].weight.item() for _ in range(2)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(("batch", "accumulate"), [(8, 1), (4, 2), (2, 4)])
def test_a_step_is_the_same_however_it_is_divided(batch: int, accumulate: int) -> None:
    """All forty points of one step: the gradient is exact, so the weight after Adam's first steps is too."""
    model, told, _ = run(cpu(batch=batch * 5, accumulate=accumulate, epochs=3, clip=1e9))
    assert told.steps == 3
    assert model.weight.item() == pytest.approx(run(cpu(batch=40, epochs=3, clip=1e9))[0].weight.item(), abs=1e-6)


def test_the_loss_told_is_the_mean_over_items_under_accumulation() -> None:
    """By hand: before the first step the weight is 0, so the loss is the mean of (3x)^2."""
    wanted = np.mean([(3 * n / 40) ** 2 for n in range(40)])
    _, told, _ = run(cpu(batch=10, accumulate=4, max_steps=1))
    assert told.history[0]["loss"] == pytest.approx(wanted, rel=1e-3)


def test_the_best_weights_come_back() -> None:
    model = Line()
    seen: list[float] = []

    def score() -> float:
        seen.append(model.weight.item())
        return -abs(model.weight.item() - 1.0)  # best near 1, on the way to 3

    _, told, _ = run(cpu(epochs=20, learning_rate=0.2, patience=0), score, model=model)
    assert len(seen) == 20, "once an epoch"
    assert model.weight.item() == min(seen, key=lambda weight: abs(weight - 1.0)) != seen[-1]
    assert told.best_score == -abs(model.weight.item() - 1.0)
    assert told.best_step is not None
    assert [row["score"] for row in told.history if "score" in row] == [-abs(weight - 1.0) for weight in seen]


def test_it_stops_when_nothing_gets_better() -> None:
    scores = iter([0.5, 0.4, 0.5, 0.3, 0.9])
    _, told, _ = run(cpu(epochs=20, patience=3), lambda: next(scores))
    assert told.steps == 20, "four epochs of five steps"
    assert told.best_score == 0.5
    assert told.best_step == 5


def test_a_gain_that_is_too_small_counts_against_patience() -> None:
    scores = iter([0.50, 0.60, 0.61, 0.62, 0.9])
    _, told, _ = run(cpu(epochs=20, patience=2, min_gain=0.05), lambda: next(scores))
    assert told.steps == 20, "four epochs of five steps"
    assert told.best_score == 0.62, "the best is kept all the same"


def with_group(start: float, **group: float) -> float:
    """The weight that is left of `start` with an option of its optimizer group."""
    model = Line()
    with torch.no_grad():
        model.weight.fill_(start)
    groups = [{"params": list(model.parameters()), "lr": 0.1, "weight_decay": 0.0, **group}]
    fit(model, Points(), groups, cpu(epochs=2), 1)
    return model.weight.item()


def test_a_penalty_towards_base_weights_of_zero_is_weight_decay() -> None:
    assert with_group(0.0, base_penalty=0.5) == pytest.approx(with_group(0.0, weight_decay=0.5), abs=1e-6)
    assert with_group(0.0, base_penalty=0.5) != pytest.approx(with_group(0.0), abs=1e-2)


def test_a_penalty_holds_weights_to_where_they_began() -> None:
    """The base is at 5, the target at 3: the weight goes there, and the less the more it is held back."""
    free, held, tight = (with_group(5.0, base_penalty=penalty) for penalty in (0.0, 1.0, 9.0))
    assert 3.0 < free < held - 0.1 < tight - 0.2 < 5.0


def test_evaluations_are_spread_over_the_run() -> None:
    steps: list[int] = []
    _, told, _ = run(cpu(epochs=8, evaluations=4, patience=0), lambda: float(len(steps)))
    assert [row["step"] for row in told.history if "score" in row] == [10, 20, 30, 40]


def test_a_loss_that_is_no_number_stops_the_run() -> None:
    def broken(model: torch.nn.Module, batch: dict[str, torch.Tensor], items: Any) -> torch.Tensor:
        return squares(model, batch, items) * math.nan

    with pytest.raises(IntegrityError) as error:
        run(cpu(), loss=broken)
    assert str(error.value) == (
        "the loss is not a number at step 1 (learning rate 0.033). Kept: nothing of this run. "
        "Next: lower fit.learning_rate, or use fit.precision fp32, in a new --out."
    )


@pytest.mark.parametrize(
    ("examples", "options", "steps"),
    [
        (40, {"epochs": 2, "batch": 8}, 10),
        (41, {"epochs": 2, "batch": 8}, 12),
        (41, {"epochs": 1, "batch": 8, "accumulate": 4}, 2),
        (40, {"epochs": 0.5, "batch": 8}, 3),
        (40, {"epochs": 1, "batch": 8, "min_steps": 30}, 30),
        (40, {"epochs": 9, "batch": 8, "max_steps": 7}, 7),
        (1, {"batch": 8}, 1),
    ],
)
def test_steps_by_hand(examples: int, options: dict[str, Any], steps: int) -> None:
    assert plan_steps(examples, FitSettings(**options))[0] == steps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "fit.batch: must be 1 or more."),
        ({"accumulate": 0}, "fit.accumulate: must be 1 or more."),
        ({"epochs": 0}, "fit.epochs: must be more than 0."),
        ({"warmup": 1.0}, "fit.warmup or fit.decay: must be a share between 0 and 1."),
        ({"evaluations": -1}, "fit.evaluations: must be 1 or more."),
        ({"min_gain": -1.0}, "fit.min_gain: must be 0 or more."),
        ({"save_minutes": -1.0}, "fit.save_minutes: must be 0 (after every step) or more."),
        ({"max_steps": 0}, "fit.max_steps: must be 1 or more."),
        ({"learning_rate": 0.0}, "fit.learning_rate: must be more than 0."),
        ({"ema_decay": 1.0}, "fit.ema_decay: must be a share from 0 to under 1."),
        ({"average_last": 0}, "fit.average_last: must be 1 or more."),
        ({"layer_decay": 0.0}, "fit.layer_decay: must be a share over 0, or 1."),
        ({"layer_decay": 1.1}, "fit.layer_decay: must be a share over 0, or 1."),
        ({"base_penalty": -0.1}, "fit.base_penalty: must be 0 or more."),
        ({"fresh_layers": -1}, "fit.fresh_layers: must be 0 or more."),
        ({"balance": 1.5}, "fit.balance: must be from 0 to 1."),
    ],
)
def test_settings_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        SupervisedFit(**options)
    assert str(error.value) == message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(ConfigError) as error:
        run(cpu(device="cuda"))
    assert str(error.value) == "fit.device: no GPU that torch can use. Next: use --fit.device auto."


def test_bf16_is_for_training_only() -> None:
    class Wide(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen = torch.is_autocast_enabled("cpu")
            return super().forward(x[:, None].expand(-1, 8)).mean(1)

    model = Wide(8, 8)
    seen: list[bool] = []
    run(
        cpu(precision="bf16", evaluations=1),
        model=model,
        loss=lambda m, b, i: squares(m, b, i) * (seen.append(m.seen) or 1),
    )
    assert seen and all(seen)
    model(torch.ones(2))
    assert not model.seen, "accelerate's autocast is taken off again: what is saved answers as what is scored"
