"""Differentially private training: clipped per patient, with noise, in a loop that may be broken off anywhere."""

import contextlib
import json
import math
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import set_seed

from clinnlp.core.run import write_json
from clinnlp.core.signals import Signals, Stop
from clinnlp.errors import ConfigError, IntegrityError
from clinnlp.models.device import choose_device, choose_precision
from clinnlp.tasks.base import Example, Task
from clinnlp.training.accountant import epsilon_of, noise_for
from clinnlp.training.average import average_of
from clinnlp.training.checkpoints import Checkpoints
from clinnlp.training.dropout import attention_dropout
from clinnlp.training.fit import Fit, let_recompute, plan_of
from clinnlp.training.memory import PeakMemory
from clinnlp.training.ranks import Ranks
from clinnlp.training.schedules import curve
from clinnlp.training.settings import FitSettings, Privacy
from clinnlp.training.watch import Over, Watch

KEY, KEY_BYTES = "secret.json", 16  # in the folder of the checkpoints, and gone with them
DRAW, NOISE, DROPOUT = range(3)  # what randomness is for

Key = tuple[int, int]


@dataclass(frozen=True)
class Account:
    """What a private run may spend: `patients` is their number, which counts as public, and `steps` is planned."""

    privacy: Privacy
    patients: int
    steps: int
    noise: float

    @classmethod
    def of(cls, privacy: Privacy, patients: int, fit: FitSettings) -> "Account":
        """The account of a training. Raises ConfigError if delta is too large for so few, or epsilon cannot be kept."""
        if privacy.delta >= 1 / patients:
            raise ConfigError(
                f"with {patients} {privacy.unit}s a chance of {privacy.delta:g} is no protection: one of them could be "
                "given away whole",
                where="privacy.delta", next=f"choose one well under 1 / {patients}, or give more notes",
            )  # fmt: skip
        steps = max(math.ceil((fit.epochs or 1) / privacy.rate), fit.min_steps, 1)
        steps = min(steps, fit.max_steps or steps)
        noise = privacy.noise
        if noise is None:
            assert privacy.epsilon is not None
            noise = noise_for(privacy.epsilon, privacy.rate, steps, privacy.delta)
        return cls(privacy, patients, steps, noise)

    def epsilon(self, steps: int) -> float:
        """What so many steps have spent. Steps that are done again after a break are the same, and count once."""
        return epsilon_of(self.privacy.rate, self.noise, steps, self.privacy.delta)


class Patients:
    """The examples of each patient, and the noisy gradient of those that are drawn for a step.

    All randomness is a function of a secret key and the step: who knows it can take the noise off again.
    """

    def __init__(
        self, examples: Sequence[Sequence[Example]], task: Task, pad_id: int, batch: int, account: Account, key: Key
    ) -> None:
        self.examples, self.task, self.pad_id, self.batch = examples, task, pad_id, batch
        self.account, self.key = account, key

    def drawn(self, step: int) -> list[int]:
        """The places of the patients of a step: each comes with chance `rate`, whatever the others do (Poisson)."""
        chances = self._random(step, DRAW).random(len(self.examples))
        return [int(place) for place in np.flatnonzero(chances < self.account.privacy.rate)]

    def gradient(self, model: torch.nn.Module, step: int, precision: str = "fp32") -> torch.Tensor:
        """Leave the noisy mean of the clipped gradients in the trainable weights; returns the mean loss of a patient.

        A patient's gradient is that of the mean loss over all its targets, in all its notes, so that ten notes move the
        weights no more than one. The sum is divided by the expected number of patients. Source: Abadi et al. (2016).
        """
        privacy = self.account.privacy
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        total = [torch.zeros_like(weight) for weight in weights]
        drawn = self.drawn(step)
        losses = torch.zeros((), dtype=torch.float64, device=weights[0].device)
        for place in drawn:
            torch.manual_seed(int(self._random(step, DROPOUT, place).integers(2**62)))
            losses += self._backward(model, weights, self.examples[place], precision)
            clip_into(total, weights, privacy.clip)
        random = self._random(step, NOISE)
        expected = privacy.rate * len(self.examples)
        for weight, summed in zip(weights, total, strict=True):
            noise = random.standard_normal(weight.shape) * (self.account.noise * privacy.clip)
            weight.grad = (summed + torch.as_tensor(noise, dtype=summed.dtype, device=summed.device)) / expected
        return losses / max(len(drawn), 1)

    def _backward(
        self, model: torch.nn.Module, weights: Sequence[torch.Tensor], examples: Sequence[Example], precision: str
    ) -> float:
        """Leave the gradient of one patient in the weights; returns its mean loss. A few rows are read at a time."""
        for weight in weights:
            weight.grad = None
        device = weights[0].device
        parts = [
            self.task.collate(examples[at : at + self.batch], self.pad_id)
            for at in range(0, len(examples), self.batch)
        ]  # fmt: skip
        items = torch.tensor(max(sum(int((part["labels"] != -100).sum()) for part in parts), 1), device=device)
        found = 0.0
        for part in parts:
            here = {name: values.to(device) for name, values in part.items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                loss = self.task.loss(model, here, items)
            loss.backward()  # type: ignore[no-untyped-call]
            found += float(loss.detach())
        return found

    def _random(self, step: int, what: int, place: int = 0) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=np.array(self.key, np.uint64), counter=[0, step, what, place]))


def clip_into(total: Sequence[torch.Tensor], weights: Sequence[torch.Tensor], clip: float) -> None:
    """Add the gradients of the weights to `total`, shortened to the norm `clip` all together where they are longer."""
    grads = [weight.grad for weight in weights]
    norm = torch.stack([grad.float().norm() for grad in grads if grad is not None] or [torch.zeros(())]).norm()
    factor = (clip / norm.clamp(min=1e-30)).clamp(max=1.0)
    for summed, grad in zip(total, grads, strict=True):
        if grad is not None:
            summed.add_(grad * factor)


def secret_key(folder: Path) -> Key:
    """The secret of a run: drawn by the system once, kept beside its checkpoints, and removed with them.

    Raises IntegrityError if there are checkpoints without it, or it is not as it was written.
    """
    path = folder / KEY
    if not path.is_file():
        if any(folder.glob("step-*")):
            raise IntegrityError(
                "the checkpoints of a private run are there, and the secret of its noise is not", where=str(path),
                kept="everything", next="start again in a new --out",
            )  # fmt: skip
        folder.mkdir(mode=0o700, exist_ok=True)
        write_json(path, {"format_version": 1, "key": secrets.token_bytes(KEY_BYTES).hex()})
    try:
        held = bytes.fromhex(json.loads(path.read_bytes())["key"])
    except (ValueError, TypeError, KeyError):
        held = b""
    if len(held) != KEY_BYTES:
        raise IntegrityError(
            "the secret of the noise is not as it was written", where=str(path), kept="everything",
            next="start again in a new --out; what was trained so far counts as spent",
        )  # fmt: skip
    return int.from_bytes(held[:8], "big"), int.from_bytes(held[8:], "big")


def fit_privately(
    model: torch.nn.Module,
    patients: Patients,
    groups: list[dict[str, Any]],
    settings: FitSettings,
    seed: int,
    score: Callable[[], float] | None = None,
    checkpoints: Checkpoints | None = None,
    moving: Callable[[float], Collection[str]] | None = None,
) -> Fit:
    """As `fit`, with the noisy gradients of patients; `settings.clip` and `accumulate` are not used.

    With `score` the notes behind it choose the weights, and nothing covers these.
    """
    set_seed(seed)
    saved = checkpoints.newest() if checkpoints else None
    device = choose_device(settings.device)
    precision = saved.precision if saved else choose_precision(settings.precision, device)
    account = patients.account
    plan = plan_of(account.steps, 1 / account.privacy.rate, settings, device, precision, Ranks(device, seed))
    done = saved.progress.step if saved else 0
    if settings.recompute:
        let_recompute(model)
    model.to(device)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, settings.beta2), eps=1e-6, fused=True)
    factor = curve(settings.schedule, plan.steps, settings.warmup, settings.decay)
    rates = LambdaLR(optimizer, lambda step: factor(done + step))
    signals = Signals()
    memory, interruptible = PeakMemory(device), signals if checkpoints else contextlib.nullcontext()
    with memory, interruptible, attention_dropout(settings.attention_dropout):
        average = partial(average_of, settings=settings)
        watch = Watch(model, optimizer, plan, score, moving, checkpoints, signals, average)
        if saved:
            watch.go_on_from(saved)
        model.train()
        try:
            _steps(watch, patients, rates)
        except Over:
            pass
        except Stop:
            raise watch.stop() from None
    watch.restore_best()
    model.eval()
    told = watch.state().progress
    return Fit(told.step, told.seconds, device, precision, told.history, told.best_score, told.best_step, memory.bytes)


def _steps(watch: Watch, patients: Patients, rates: LambdaLR) -> None:
    control = SimpleNamespace(should_training_stop=False)
    watch.on_train_begin(None, None, control)
    while not control.should_training_stop:
        watch.on_step_begin(None, None, control)
        watch.add(patients.gradient(watch.model, watch.progress.step, watch.plan.precision))
        watch.on_pre_optimizer_step(None, None, control)
        watch.optimizer.step()
        rates.step()
        watch.on_step_end(None, None, control)
