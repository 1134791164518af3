"""Averages of weights, by hand and in a loop: what is scored is what is kept, and a break changes nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from clinnlp.errors import StoppedError
from clinnlp.training.average import Average, Ema, MeanOfLast
from clinnlp.training.checkpoints import Checkpoints
from clinnlp.training.fit import fit
from clinnlp.training.settings import FitSettings
from tests.training.test_checkpoints import SETTINGS, STEPS, Killed, kill, same, terminate, train
from tests.training.test_fit import Line, Points, squares

AVERAGES = {
    "ema": replace(SETTINGS, average="ema", ema_decay=0.9),
    "last": replace(SETTINGS, average="last", average_last=3),
}


def test_no_average_stands_for_itself() -> None:
    weights = {"w": torch.ones(1)}
    average = Average(weights)
    average.after_step(1)
    average.at_evaluation(1)
    assert (average.mean(), average.held) == ({}, {})


def test_an_ema_by_hand() -> None:
    weights = {"w": torch.tensor([1.0])}
    average = Ema(weights, 0.25)
    weights["w"].fill_(2.0)
    average.after_step(1)
    assert average.mean()["w"].item() == pytest.approx(1 * 2 / 11 + 2 * 9 / 11), "at first a decay of 2 / 11"
    weights["w"].fill_(4.0)
    average.after_step(3)
    assert average.mean()["w"].item() == pytest.approx((20 / 11) * 0.25 + 4 * 0.75), "4 / 13 is over 0.25"


def test_a_mean_of_the_last_by_hand() -> None:
    weights = {"w": torch.tensor([1.0])}
    average = MeanOfLast(weights, 2)
    assert average.mean() == {}
    for step, value, wanted in ((2, 1.0, 1.0), (4, 3.0, 2.0), (10, 4.0, 3.5), (10, 4.0, 3.5)):
        weights["w"].fill_(value)
        average.after_step(step)
        average.at_evaluation(step)
        assert average.mean()["w"].item() == wanted
    assert set(average.held) == {"4:w", "10:w"}


def run(settings: FitSettings, score: Any = None) -> tuple[list[float], list[float], float]:
    """The weight after each pass, at each score, and in the end."""
    model, passes, scored = Line(), [], []

    def loss(model: Any, batch: Any, items: Any) -> torch.Tensor:
        passes.append(model.weight.item())
        return squares(model, batch, items)

    def watched() -> float:
        scored.append(model.weight.item())
        return score(model)

    groups = [{"params": list(model.parameters()), "lr": 0.1}]
    fit(model, Points(loss), groups, settings, 1, watched if score else None)
    return passes, scored, model.weight.item()


FAST = FitSettings(device="cpu", precision="fp32", batch=8, epochs=4, evaluations=4, patience=0)  # 20 steps


@pytest.mark.parametrize("scored", [True, False])
def test_the_mean_of_the_last_is_scored_and_kept(scored: bool) -> None:
    plain, at, end = run(FAST, lambda model: model.weight.item())
    after = [*plain[1:], end]  # the weight after each step
    wanted = [after[4], (after[4] + after[9]) / 2, (after[9] + after[14]) / 2, (after[14] + after[19]) / 2]
    score = (lambda model: model.weight.item()) if scored else None
    passes, at, kept = run(replace(FAST, average="last", average_last=2), score)
    assert passes == plain, "the steps go on from the weights themselves"
    assert at == pytest.approx(wanted if scored else [])
    assert kept == pytest.approx(wanted[-1])


@pytest.mark.parametrize("scored", [True, False])
def test_a_moving_average_is_scored_and_kept(scored: bool) -> None:
    plain, _, end = run(FAST, lambda model: model.weight.item())
    after, ema, wanted = [*plain[1:], end], 0.0, []
    for step, weight in enumerate(after, start=1):
        decay = min(0.5, (1 + step) / (10 + step))
        ema = decay * ema + (1 - decay) * weight
        wanted.append(ema)
    score = (lambda model: model.weight.item()) if scored else None
    passes, at, kept = run(replace(FAST, average="ema", ema_decay=0.5), score)
    assert passes == plain
    assert at == pytest.approx(wanted[4::5] if scored else [], abs=1e-6)
    assert kept == pytest.approx(wanted[-1], abs=1e-6)


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.parametrize("at", [2, 7, 13, 24, 2 * STEPS])
def test_killed_and_gone_on_with(name: str, at: int, tmp_path: Path) -> None:
    whole = train(None, settings=AVERAGES[name])
    with pytest.raises(Killed):
        train(tmp_path / "c", kill(at), settings=AVERAGES[name])
    assert same(train(tmp_path / "c", settings=AVERAGES[name]), whole)


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.parametrize("at", [1, 4, 7])
def test_a_signal_while_the_average_stands_in_for_the_weights(name: str, at: int, tmp_path: Path) -> None:
    """What is saved then are the weights, and the average beside them."""
    whole = train(None, settings=AVERAGES[name])
    with pytest.raises(StoppedError):
        train(tmp_path / "c", at_score=terminate(at), settings=AVERAGES[name])
    assert same(train(tmp_path / "c", settings=AVERAGES[name]), whole)


@pytest.mark.parametrize("name", AVERAGES)
def test_a_second_signal_while_the_weights_are_put_back(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clinnlp.training.watch import Watch

    whole = train(None, settings=AVERAGES[name])
    put, calls = Watch._put, [0]

    def put_and_stop(self: Watch, weights: Any) -> None:
        calls[0] += 1
        if calls[0] == 2:  # the first puts the average in, the second the weights back
            terminate(1)(1)
            terminate(1)(1)
        put(self, weights)

    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr(Watch, "_put", put_and_stop)
        train(tmp_path / "c", settings=AVERAGES[name])
    assert Checkpoints(tmp_path / "c").names()
    assert same(train(tmp_path / "c", settings=AVERAGES[name]), whole)
