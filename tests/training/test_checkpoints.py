"""A loop that is broken off anywhere and taken up again ends with the same weights, to the bit."""

import errno
import json
import math
import os
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from clinnlp.errors import IntegrityError, StoppedError, StorageError
from clinnlp.training import checkpoints as checkpoints_module
from clinnlp.training.checkpoints import Checkpoints
from clinnlp.training.fit import Fit, fit
from clinnlp.training.settings import FitSettings
from tests.training.test_fit import Points, squares

SETTINGS = FitSettings(
    device="cpu",
    precision="fp32",
    batch=6,
    accumulate=2,
    epochs=6,
    learning_rate=0.05,
    save_minutes=0,
    evaluations=7,
    patience=0,
)  # 21 steps of two passes each, which do not end where epochs do
STEPS = 21


class Net(torch.nn.Module):
    """Two layers with dropout between: what it learns depends on torch's generator."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.drop, self.outer = torch.nn.Linear(1, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1)
        self.frozen = torch.nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outer(self.drop(torch.tanh(self.inner(x[:, None])))).squeeze(1) * self.frozen


class Killed(BaseException):
    """The process is gone."""


def train(
    folder: Path | None, at_pass: Callable[[int], None] = lambda number: None,
    at_score: Callable[[int], None] = lambda number: None, settings: FitSettings = SETTINGS,
) -> tuple[Net, Fit]:  # fmt: skip
    model, passes, scores = Net(), [0], [0]

    def loss(model: torch.nn.Module, batch: dict[str, torch.Tensor], items: Any) -> torch.Tensor:
        passes[0] += 1
        at_pass(passes[0])
        return squares(model, batch, items)

    def score() -> float:
        scores[0] += 1
        at_score(scores[0])
        torch.rand(3)  # whatever a score draws changes nothing
        return -((model(torch.linspace(0, 1, 9)) - 1.5) ** 2).mean().item()

    groups = [{"params": [w for w in model.parameters() if w.requires_grad], "lr": settings.learning_rate}]
    checkpoints = Checkpoints(folder) if folder else None
    return model, fit(model, Points(loss), groups, settings, 1, score, checkpoints)


def same(one: tuple[Net, Fit], other: tuple[Net, Fit]) -> bool:
    weights = zip(one[0].parameters(), other[0].parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in weights) and steady(one[1]) == steady(other[1])


def steady(told: Fit) -> Any:
    """All that a loop tells but its times."""
    rows = [{key: value for key, value in row.items() if "seconds" not in key} for row in told.history]
    return told.steps, told.best_score, told.best_step, rows


@pytest.fixture(scope="module")
def whole() -> tuple[Net, Fit]:
    return train(None)


def kill(at: int) -> Callable[[int], None]:
    def maybe(number: int) -> None:
        if number == at:
            raise Killed

    return maybe


def terminate(at: int) -> Callable[[int], None]:
    def maybe(number: int) -> None:
        if number == at:
            os.kill(os.getpid(), signal.SIGTERM)

    return maybe


def test_checkpoints_change_nothing(whole: tuple[Net, Fit], tmp_path: Path) -> None:
    assert whole[1].steps == STEPS
    assert same(train(tmp_path / "c"), whole)
    assert same(train(tmp_path / "c"), whole), "and a finished loop is not begun again"


@pytest.mark.parametrize("at", range(1, 2 * STEPS + 1))
def test_killed_in_any_pass(whole: tuple[Net, Fit], tmp_path: Path, at: int) -> None:
    with pytest.raises(Killed):
        train(tmp_path / "c", kill(at))
    assert same(train(tmp_path / "c"), whole)


@pytest.mark.parametrize("at", range(1, 8))
def test_killed_while_it_is_scored(whole: tuple[Net, Fit], tmp_path: Path, at: int) -> None:
    with pytest.raises(Killed):
        train(tmp_path / "c", at_score=kill(at))
    assert same(train(tmp_path / "c"), whole)


def test_killed_again_and_again(whole: tuple[Net, Fit], tmp_path: Path) -> None:
    draw = random.Random(0)
    tries = 0
    while True:
        tries += 1
        try:
            ended = train(tmp_path / "c", kill(draw.randrange(1, 9)))
            break
        except Killed:
            assert tries < 60
    assert tries > 5
    assert same(ended, whole)


@pytest.mark.parametrize("at", [1, 2, 3, 8, 2 * STEPS])
def test_a_signal_saves_and_leaves(whole: tuple[Net, Fit], tmp_path: Path, at: int) -> None:
    rarely = replace(SETTINGS, save_minutes=1e6)
    with pytest.raises(StoppedError) as error:
        train(tmp_path / "c", terminate(at), settings=rarely)
    assert error.value.exit_status == 143
    done = (at - 1) // 2
    assert error.value.kept == (f"the checkpoint of step {done}" if done else "no step was done yet")
    assert same(train(tmp_path / "c", settings=rarely), whole)


def test_a_second_signal_while_it_saves(
    whole: tuple[Net, Fit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rarely = replace(SETTINGS, save_minutes=1e6)
    with pytest.raises(StoppedError):
        train(tmp_path / "c", terminate(8), settings=rarely)
    with monkeypatch.context() as patch, pytest.raises(StoppedError) as error:
        patch.setattr(checkpoints_module, "write_json", lambda *given: terminate(1)(1))
        train(tmp_path / "c", terminate(8), settings=rarely)
    assert error.value.exit_status == 143
    assert error.value.kept == f"the checkpoints before: {Checkpoints(tmp_path / 'c').names()[-1]}"
    assert same(train(tmp_path / "c", settings=rarely), whole)


@pytest.mark.parametrize("at", [1, 4, 7])
def test_a_signal_while_it_is_scored(whole: tuple[Net, Fit], tmp_path: Path, at: int) -> None:
    with pytest.raises(StoppedError):
        train(tmp_path / "c", at_score=terminate(at))
    scored: list[int] = []
    assert same(train(tmp_path / "c", at_score=scored.append), whole)
    assert len(scored) == 8 - at, "the score that was broken off is done again"


def test_early_stopping_is_decided_at_the_same_step(tmp_path: Path) -> None:
    impatient = replace(SETTINGS, epochs=30, patience=2, learning_rate=0.5)
    whole = train(None, settings=impatient)
    assert whole[1].steps < 100, "it stopped early"
    with pytest.raises(Killed):
        train(tmp_path / "c", kill(2 * whole[1].steps - 3), settings=impatient)
    assert same(train(tmp_path / "c", settings=impatient), whole)


def stopped_at(folder: Path, step: int) -> Path:
    with pytest.raises(Killed):
        train(folder, kill(2 * step + 1))
    return sorted(folder.glob("step-*"))[-1]


def test_two_are_kept_and_none_when_removed(tmp_path: Path) -> None:
    stopped_at(tmp_path / "c", 9)
    assert Checkpoints(tmp_path / "c").names() == ["step-00000008-00000006", "step-00000009-00000009"]
    assert not (tmp_path / "c").stat().st_mode & 0o077
    Checkpoints(tmp_path / "c").remove()
    assert not (tmp_path / "c").exists()


def test_a_torn_one_is_named_and_skipped(
    whole: tuple[Net, Fit], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    newest = stopped_at(tmp_path / "c", 9)
    (newest / checkpoints_module.COMPLETE).unlink()
    left = tmp_path / "c" / ".step-00000010-00000009.tmp"
    left.mkdir()
    with caplog.at_level("INFO", "clinnlp"):
        assert same(train(tmp_path / "c"), whole)
    assert f"{newest.name} was never finished: skipped" in caplog.text
    assert f"{left.name} was never finished: skipped" in caplog.text
    assert "going on from step 8 of 21" in caplog.text


@pytest.mark.parametrize("seed", range(25))
def test_an_altered_one_is_refused(tmp_path: Path, seed: int) -> None:
    newest = stopped_at(tmp_path / "c", 3)
    draw = random.Random(seed)
    path = draw.choice(sorted(newest.iterdir()))
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    with pytest.raises(IntegrityError) as error:
        train(tmp_path / "c")
    assert error.value.where == str(newest)
    assert path.name in error.value.what or path.name == checkpoints_module.COMPLETE


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "optimizer.safetensors", "random.safetensors", "best.safetensors", "progress.json"]
)
def test_one_with_a_part_missing_is_refused(whole: tuple[Net, Fit], tmp_path: Path, name: str) -> None:
    newest = stopped_at(tmp_path / "c", 3)
    (newest / name).unlink()
    with pytest.raises(IntegrityError, match=f"{name} of a checkpoint is missing"):
        train(tmp_path / "c")
    shutil.rmtree(newest)  # what the message says
    assert same(train(tmp_path / "c"), whole)


def test_a_hash_that_the_record_does_not_name_is_refused(tmp_path: Path) -> None:
    newest = stopped_at(tmp_path / "c", 3)
    record = newest / checkpoints_module.COMPLETE
    told = json.loads(record.read_bytes())
    del told["sha256"]["weights.safetensors"]
    record.write_text(json.dumps(told))
    with pytest.raises(IntegrityError, match=r"weights\.safetensors"):
        train(tmp_path / "c")


@pytest.mark.parametrize("at", range(1, 60, 3))
def test_killed_at_any_call_of_a_save(
    whole: tuple[Net, Fit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    calls = [0]

    def count(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[0] += 1
            if calls[0] == at:
                raise Killed
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpoints_module, "save_file", count(checkpoints_module.save_file))
        patch.setattr(checkpoints_module, "write_json", count(checkpoints_module.write_json))
        patch.setattr(checkpoints_module, "_flush", count(checkpoints_module._flush))
        patch.setattr(shutil, "rmtree", count(shutil.rmtree))
        patch.setattr(Path, "rename", count(Path.rename))
        train(tmp_path / "c")
    assert same(train(tmp_path / "c"), whole)


def test_a_full_disk_leaves_the_ones_before(
    whole: tuple[Net, Fit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_at(tmp_path / "c", 5)

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StorageError) as error:
        patch.setattr(checkpoints_module, "save_file", full)
        train(tmp_path / "c")
    assert str(error.value).startswith(f"{tmp_path / 'c'}: cannot save a checkpoint: No space left on device. Kept: ")
    assert error.value.kept == "step-00000004-00000003, step-00000005-00000003"
    assert same(train(tmp_path / "c"), whole)


def test_no_checkpoint_of_what_is_not_a_number(tmp_path: Path) -> None:
    passes = [0]

    def loss(model: torch.nn.Module, batch: dict[str, torch.Tensor], items: Any) -> torch.Tensor:
        passes[0] += 1
        return squares(model, batch, items) * (math.nan if passes[0] > 10 else 1)

    model = Net()
    groups = [{"params": [w for w in model.parameters() if w.requires_grad], "lr": 0.05}]
    with pytest.raises(IntegrityError) as error:
        fit(model, Points(loss), groups, SETTINGS, 1, None, Checkpoints(tmp_path / "c"))
    assert "is not a number at step 6" in error.value.what
    assert error.value.kept == "the checkpoints before it: step-00000004-00000000, step-00000005-00000000"
