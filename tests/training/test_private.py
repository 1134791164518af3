"""Private training: clipped per patient as counted by hand, noise as told, and to the bit after a break."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clinnlp.errors import ConfigError, IntegrityError, StoppedError
from clinnlp.tasks.base import Task
from clinnlp.training.accountant import epsilon_of
from clinnlp.training.checkpoints import Checkpoints
from clinnlp.training.fit import Fit
from clinnlp.training.private import KEY, Account, Patients, clip_into, fit_privately, secret_key
from clinnlp.training.settings import FitSettings, Privacy
from tests.training.test_checkpoints import Killed, kill, steady, terminate
from tests.training.test_fit import Line

STEPS = 12
SETTINGS = FitSettings(
    device="cpu", precision="fp32", batch=2, learning_rate=0.05, max_steps=STEPS, epochs=99, save_minutes=0,
    evaluations=4, patience=0, weight_decay=0.0,
)  # fmt: skip
PRIVACY = Privacy(noise=1.0, clip=1.0, rate=0.5, delta=1e-3)
KEY_OF_TESTS = (3, 4)


class Squares(Task):
    """Points (x, y) whose squared error is the loss; how often it was asked for is counted."""

    def __init__(self, at_pass: Callable[[int], None] = lambda number: None) -> None:
        object.__setattr__(self, "passes", [0])
        object.__setattr__(self, "at_pass", at_pass)

    def collate(self, examples: Any, pad_id: int) -> dict[str, torch.Tensor]:
        x, y = torch.tensor(examples).T
        return {"x": x, "labels": y}

    def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor], items: Any) -> torch.Tensor:
        counted: Any = self
        counted.passes[0] += 1
        counted.at_pass(counted.passes[0])
        return torch.div(((model(batch["x"]) - batch["labels"]) ** 2).sum(), items)


class Net(torch.nn.Module):
    """Two layers with dropout between."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.drop, self.outer = torch.nn.Linear(1, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outer(self.drop(torch.tanh(self.inner(x[:, None])))).squeeze(1)


def points(count: int) -> list[list[tuple[float, float]]]:
    """Patients with one to five points of y = 3x."""
    return [[(p / count + n / 10, 3 * p / count) for n in range(p % 5 + 1)] for p in range(count)]


def patients(held: Any, privacy: Privacy = PRIVACY, noise: float = 1.0, task: Any = None) -> Patients:
    account = Account(privacy, len(held), STEPS, noise)
    return Patients(held, task or Squares(), 0, SETTINGS.batch, account, KEY_OF_TESTS)


def everyone(clip: float) -> Privacy:
    return Privacy(noise=1.0, clip=clip, rate=1.0, delta=1e-3)


def test_the_gradient_by_hand() -> None:
    # At weight 0 the slope of (w x - y)^2 is -2 x y: patient one -2 * 1 * 3 = -6, clipped to -4; patient two the mean
    # of -2 * 0.5 * 1 and -2 * 1 * 0.5, -1, as it is; patient three has no notes. Over the expected number: -5 / 3.
    model = Line()
    held = [[(1.0, 3.0)], [(0.5, 1.0), (1.0, 0.5)], []]
    loss = patients(held, everyone(4.0), noise=0.0).gradient(model, 0)
    assert model.weight.grad is not None
    assert model.weight.grad.item() == pytest.approx(-5 / 3)
    assert loss.item() == pytest.approx((9 + (1 + 0.25) / 2 + 0) / 3)


def test_the_norm_is_of_all_weights_together() -> None:
    weights = [torch.zeros(1), torch.zeros(2)]
    for weight, grad in zip(weights, ([3.0], [0.0, 4.0]), strict=True):
        weight.grad = torch.tensor(grad)
    total = [torch.ones(1), torch.zeros(2)]
    clip_into(total, weights, 1.0)
    assert total[0].tolist() == pytest.approx([1.6])
    assert total[1].tolist() == pytest.approx([0.0, 0.8])
    clip_into(total, weights, 10.0)
    assert total[0].tolist() == pytest.approx([4.6]), "what is shorter stays as it is"


@pytest.mark.parametrize("notes", [1, 3, 10])
def test_a_patient_counts_the_same_with_one_note_as_with_ten(notes: int) -> None:
    changes = []
    for held in ([[(0.1, 0.2)]], [[(0.1, 0.2)], [(5.0, 50.0)] * notes]):
        model = Line()
        patients(held, everyone(0.5), noise=0.0).gradient(model, 0)
        assert model.weight.grad is not None
        changes.append(model.weight.grad.item() * len(held))
    assert abs(changes[1] - changes[0]) == pytest.approx(0.5)


def reference(held: Any, clip: float, private: Patients) -> Net:
    """Clipped SGD step by step, its gradients by another way than backward()."""
    model = Net().eval()
    rate = private.account.privacy.rate
    for step in range(STEPS):
        total = [torch.zeros_like(weight) for weight in model.parameters()]
        for place in private.drawn(step):
            x, y = torch.tensor(held[place]).T
            grads = torch.autograd.grad(((model(x) - y) ** 2).mean(), list(model.parameters()))
            norm = float(sum((grad**2).sum() for grad in grads)) ** 0.5
            total = [summed + grad * min(1.0, clip / norm) for summed, grad in zip(total, grads, strict=True)]
        with torch.no_grad():
            for weight, summed in zip(model.parameters(), total, strict=True):
                weight -= 0.1 * summed / (rate * len(held))
    return model


def test_without_noise_it_is_clipped_sgd() -> None:
    held = points(14)
    private = patients(held, replace(PRIVACY, clip=0.3), noise=0.0)
    model = Net().eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(STEPS):
        private.gradient(model, step)
        optimizer.step()
    expected = reference(held, 0.3, private)
    assert not torch.equal(model.inner.weight, Net().inner.weight)
    for found, wanted in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)


def test_each_patient_is_drawn_on_its_own_with_the_rate() -> None:
    private = patients(points(40), replace(PRIVACY, rate=0.2))
    drawn = np.zeros((500, 40))
    for step in range(500):
        drawn[step, private.drawn(step)] = 1
    assert drawn.mean() == pytest.approx(0.2, abs=0.01)
    assert np.abs(drawn.mean(axis=0) - 0.2).max() < 0.08
    assert drawn.sum(axis=1).std() == pytest.approx((40 * 0.2 * 0.8) ** 0.5, rel=0.15), "as many as chance has it"
    assert private.drawn(7) == private.drawn(7) != private.drawn(8)


def test_the_noise_has_the_size_that_the_account_has() -> None:
    model = torch.nn.Linear(100, 100)
    noise, clip, rate, count = 1.5, 0.3, 0.5, 10
    nobody = patients([[]] * count, replace(PRIVACY, clip=clip, rate=rate), noise)
    found = []
    for step in range(4):
        nobody.gradient(model, step)
        assert model.weight.grad is not None
        found.append(model.weight.grad.flatten().clone())
    drawn = torch.stack(found)
    assert float(drawn.std()) == pytest.approx(noise * clip / (rate * count), rel=0.02)
    assert float(drawn.mean()) == pytest.approx(0.0, abs=0.002)
    assert abs(float(torch.corrcoef(drawn)[0, 1])) < 0.05, "each step has noise of its own"


def test_only_what_moves_is_noised() -> None:
    model = Net()
    model.inner.weight.requires_grad = False
    patients(points(10)).gradient(model, 0)
    assert model.inner.weight.grad is None
    assert model.outer.weight.grad is not None


def train(
    folder: Path | None, at_pass: Callable[[int], None] = lambda number: None, score: Any = None,
    settings: FitSettings = SETTINGS,
) -> tuple[Net, Fit]:  # fmt: skip
    model = Net()
    private = patients(points(9), task=Squares(at_pass))
    groups = [{"params": list(model.parameters()), "lr": settings.learning_rate}]
    checkpoints = Checkpoints(folder) if folder else None
    return model, fit_privately(model, private, groups, settings, 1, score, checkpoints)


def same(one: tuple[Net, Fit], other: tuple[Net, Fit]) -> bool:
    weights = zip(one[0].parameters(), other[0].parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in weights) and steady(one[1]) == steady(other[1])


@pytest.fixture(scope="module")
def whole() -> tuple[Net, Fit]:
    return train(None)


def test_it_takes_the_steps_that_were_planned(whole: tuple[Net, Fit]) -> None:
    assert whole[1].steps == STEPS
    assert not torch.equal(whole[0].inner.weight, Net().inner.weight)
    assert not whole[0].training


@pytest.mark.parametrize("at", [1, 2, 9, 20, 33, 48])
def test_killed_in_a_pass(whole: tuple[Net, Fit], tmp_path: Path, at: int) -> None:
    with pytest.raises(Killed):
        train(tmp_path / "c", kill(at))
    assert same(train(tmp_path / "c"), whole)


@pytest.mark.parametrize("at", [5, 30])
def test_a_signal_saves_and_leaves(whole: tuple[Net, Fit], tmp_path: Path, at: int) -> None:
    rarely = replace(SETTINGS, save_minutes=1e6)
    with pytest.raises(StoppedError):
        train(tmp_path / "c", terminate(at), settings=rarely)
    assert same(train(tmp_path / "c", settings=rarely), whole)


def test_averages_and_public_dev_notes_work_as_in_any_loop(tmp_path: Path) -> None:
    settings = replace(SETTINGS, average="ema")
    scores = iter(range(100))
    _, told = train(None, score=lambda: -abs(next(scores) - 2), settings=settings)
    assert (told.best_step, told.best_score) == (9, 0)


def test_the_account() -> None:
    privacy = Privacy(epsilon=8.0, rate=0.1, delta=1e-4)
    account = Account.of(privacy, 500, FitSettings(epochs=20))
    assert account.steps == 200
    assert 7.9 < account.epsilon(200) <= 8.0
    assert account.epsilon(100) < account.epsilon(200)
    assert account.epsilon(200) == epsilon_of(0.1, account.noise, 200, 1e-4)
    assert Account.of(privacy, 500, FitSettings(epochs=20, max_steps=50)).noise < account.noise
    assert Account.of(privacy, 500, FitSettings(epochs=1, min_steps=30)).steps == 30
    assert Account.of(replace(privacy, epsilon=None, noise=1.25), 500, FitSettings(epochs=20)).noise == 1.25


def test_a_delta_that_gives_a_patient_away_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        Account.of(Privacy(epsilon=8.0, delta=0.02), 50, FitSettings())
    assert str(error.value).startswith(
        "privacy.delta: with 50 patients a chance of 0.02 is no protection: one of them could be given away whole. "
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "privacy: give either epsilon or noise."),
        ({"epsilon": 8.0, "noise": 1.0}, "privacy: give either epsilon or noise."),
        ({"epsilon": 0.0}, "privacy.epsilon: must be more than 0."),
        ({"noise": 0.0}, "privacy.noise: must be 0.2 or more: with less there is no guarantee to speak of."),
        ({"epsilon": 8.0, "clip": 0.0}, "privacy.clip: must be more than 0."),
        ({"epsilon": 8.0, "delta": 0.0}, "privacy.delta: must be a chance over 0 and under 1."),
        ({"epsilon": 8.0, "rate": 1.5}, "privacy.rate: must be a chance over 0, or 1."),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Privacy(**options)  # type: ignore[arg-type]
    assert str(error.value).startswith(message)


def test_the_secret_is_drawn_once_and_kept_beside_the_checkpoints(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert secret_key(one) == secret_key(one) != secret_key(other)
    assert all(0 < part < 2**64 for part in secret_key(one))
    assert len(json.loads((one / KEY).read_bytes())["key"]) == 32
    assert one.stat().st_mode & 0o077 == 0


def test_checkpoints_without_their_secret_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(tmp_path / "c", kill(30))
    with pytest.raises(IntegrityError) as error:
        secret_key(tmp_path / "c")
    assert "the checkpoints of a private run are there, and the secret of its noise is not" in str(error.value)


@pytest.mark.parametrize("held", ["", "[]", '{"key": "ab"}', '{"key": "zz"}', '{"format_version": 1}'])
def test_a_damaged_secret_is_refused(held: str, tmp_path: Path) -> None:
    (tmp_path / KEY).write_text(held, encoding="utf-8")
    with pytest.raises(IntegrityError, match="the secret of the noise is not as it was written"):
        secret_key(tmp_path)
