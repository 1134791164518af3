"""What goes on beside the steps of a training loop: the loss, the score on dev, the best weights, checkpoints."""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import TrainerCallback

from clinnlp.core.signals import Signals, Stop
from clinnlp.errors import IntegrityError, StoppedError
from clinnlp.training.average import Average
from clinnlp.training.checkpoints import Checkpoints, Progress, State, random_state, set_random_state
from clinnlp.training.ranks import Ranks

log = logging.getLogger("clinnlp")


class Over(Exception):
    """There is no step left to do."""


@dataclass(frozen=True)
class Plan:
    """How long a loop runs and what it does on the way, in optimizer steps."""

    steps: int
    per_epoch: float
    score_every: int
    log_every: int
    patience: int
    min_gain: float
    save_seconds: float
    device: str
    precision: str
    together: Ranks


class Watch(TrainerCallback):
    """Watches a loop. Its progress and the weights between two steps are all that a checkpoint must hold.

    Scoring leaves torch's generators where they were, so that the steps do not depend on when it happens.
    """

    def __init__(
        self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, plan: Plan, score: Callable[[], float] | None,
        moving: Callable[[float], Collection[str]] | None, checkpoints: Checkpoints | None, signals: Signals,
        average: Callable[[Mapping[str, torch.Tensor]], Average] = Average,
    ) -> None:  # fmt: skip
        self.model, self.optimizer, self.plan = model, optimizer, plan
        self.score, self.moving, self.checkpoints, self.signals = score, moving, checkpoints, signals
        self.weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.average = average(self.weights)
        self.aside: dict[str, torch.Tensor] = {}  # the weights, while an average of them is scored
        held_back = [group for group in optimizer.param_groups if group.get("base_penalty")]
        self.base = {weight: weight.detach().clone() for group in held_back for weight in group["params"]}
        self.progress = Progress()
        self.best: dict[str, torch.Tensor] = {}
        self.random = random_state()
        self.sum, self.of_step = torch.zeros((2,), dtype=torch.float64, device=plan.device)
        self.rate = 0.0
        self.heard = 0  # a signal that any of the processes got, known to all
        self.saved_at = time.monotonic()
        self._start()

    @property
    def is_over(self) -> bool:
        """Whether all steps are done, or the score has not become better for too long."""
        gave_up = bool(self.plan.patience) and self.progress.worse >= self.plan.patience
        return self.progress.step >= self.plan.steps or gave_up

    def add(self, loss: torch.Tensor) -> None:
        """Count the loss of a forward pass in, its share of the optimizer step's."""
        self.of_step += loss.detach()

    def go_on_from(self, state: State) -> None:
        """Be where a checkpoint was: weights, optimizer, generators and progress."""
        log.info("going on from step %d of %d", state.progress.step, self.plan.steps)
        if state.device != self.plan.device:
            log.warning("begun on %s, going on with %s, so not to the bit", state.device, self.plan.device)
        self.progress, self.random = state.progress, state.random
        self.best = state.best
        self.average.go_on_from(state.average)
        self.sum.fill_(state.progress.summed)
        self._put(state.weights)
        for key, value in state.optimizer.items():
            kind, _, name = key.partition(":")
            self.optimizer.state[self.weights[name]][kind] = value.to(self.weights[name].device)

    def state(self) -> State:
        """The loop as it is between two steps."""
        optimizer = {
            f"{kind}:{name}": value
            for name, weight in self.weights.items()
            for kind, value in self.optimizer.state[weight].items()
        }
        seconds, cpu_seconds = self._times()
        progress = replace(self.progress, summed=float(self.sum), seconds=seconds, cpu_seconds=cpu_seconds)
        weights = {name: weight.detach() for name, weight in self.weights.items()} | self.aside
        tensors = (weights, optimizer, self.random, self.best, self.average.held)
        return State(progress, self.plan.device, self.plan.precision, *tensors)

    def stop(self) -> StoppedError:
        """Save after a signal; returns the error that ends the run."""
        kept = "no step was done yet"
        if self.progress.step:
            try:
                self.signals.patient = True
                self.save()
                kept = f"the checkpoint of step {self.progress.step}"
            except Stop:  # a further signal: what was being written is torn
                before = self.checkpoints.names() if self.checkpoints else []
                kept = f"the checkpoints before: {', '.join(before) or 'none'}"
        where = str(self.checkpoints.folder) if self.checkpoints else ""
        again = "run the same command again: it goes on from there"
        return StoppedError(self.signals.received or self.heard, where=where, kept=kept, next=again)

    def save(self) -> None:
        """Write a checkpoint. Raises IntegrityError if a weight is not a number: that is nothing to go on from."""
        if self.checkpoints is None or self.plan.together.rank:
            return
        if not all(bool(torch.isfinite(weight).all()) for weight in self.weights.values()):
            raise self._not_a_number("a weight", f" (learning rate {self.rate:.2g})")
        self.checkpoints.save(self.state())
        self.saved_at = time.monotonic()

    def restore_best(self) -> None:
        """Put the best weights back; without a score to tell, the average."""
        self._put(self.best or self.average.mean())

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self._start()
        self.signals.patient = self.plan.together.count > 1
        if self._is_due:  # the signal came while it was scored
            self._score()
        if self.is_over:
            raise Over

    def on_step_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.of_step.zero_()
        if self.moving:
            self._let_move(self.moving(self.progress.step / self.plan.steps))
        if self.plan.together.count > 1:
            self.plan.together.reseed(self.progress.step)
        else:
            set_random_state(self.random)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.signals.patient = True  # a step is whole or not done
        self.rate = float(self.optimizer.param_groups[0]["lr"])
        with torch.no_grad():
            for group in self.optimizer.param_groups if self.base else ():  # as AdamW decays towards zero
                for weight in group["params"] if group.get("base_penalty") else ():
                    weight.lerp_(self.base[weight], group["lr"] * group["base_penalty"])

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.progress.step += 1
        self.random = random_state()
        self.sum += self.of_step
        self.average.after_step(self.progress.step)
        if self._is_time:
            self.average.at_evaluation(self.progress.step)
        if self.progress.step % self.plan.log_every == 0:
            self._log()
        waited = time.monotonic() - self.saved_at >= self.plan.save_seconds
        received, due = self.plan.together.largest(self.signals.received, waited)
        self.heard = int(received)
        self._let_signals_in()
        if self._is_due:
            self._score()
        if self.is_over:
            control.should_training_stop = True
        if control.should_training_stop or due:
            self.signals.patient = True
            self.save()
            self._let_signals_in()

    @property
    def _is_time(self) -> bool:
        return self.progress.step == self.plan.steps or self.progress.step % self.plan.score_every == 0

    @property
    def _is_due(self) -> bool:
        return self.score is not None and self.progress.scored < self.progress.step and self._is_time

    @property
    def _all_move(self) -> bool:
        """Whether all weights moved in the last step."""
        before = (self.progress.step - 1) / self.plan.steps
        return self.moving is None or len(self.moving(before)) == len(self.weights)

    def _let_move(self, names: Collection[str]) -> None:
        """Freeze the weights whose turn has not come: without a gradient the optimizer leaves them alone."""
        for name, weight in self.weights.items():
            weight.requires_grad = name in names

    def _let_signals_in(self) -> None:
        """Stop if there was a signal; several processes do so after the same step."""
        alone = self.plan.together.count == 1
        self.signals.patient = not alone
        if signal := self.signals.received if alone else self.heard:
            raise Stop(signal)

    def _log(self) -> None:
        progress = self.progress
        loss = float(self.sum) / self.plan.log_every
        if not math.isfinite(loss):
            raise self._not_a_number("the loss", f" (learning rate {self.rate:.2g})")
        progress.loss = loss
        self.sum.zero_()
        progress.history.append(self._now() | {"loss": loss, "learning_rate": self.rate})
        if self.score is None:
            self._say(f"loss {loss:.4f}")

    def _score(self) -> None:
        assert self.score is not None
        progress = self.progress
        scoring = time.process_time()
        self.model.eval()
        with self._averaged():
            value = self.plan.together.agreed(self.score())
        if not math.isfinite(value):
            raise self._not_a_number("the dev score", f" (learning rate {self.rate:.2g})")
        self.model.train()
        set_random_state(self.random)
        self.processor += time.process_time() - scoring  # not time of training
        best = -math.inf if progress.best_score is None else progress.best_score
        better, enough = value > best, value > best and value - best >= self.plan.min_gain
        progress.history.append(self._now() | {"score": value})
        loss = "" if progress.loss is None else f"loss {progress.loss:.4f}  "  # the first comes after the first score
        self._say(f"{loss}dev {value:.4f}{'  best' if better else ''}")
        self.signals.patient = True
        if better:
            progress.best_score, progress.best_step = value, progress.step
            kept = self.average.mean() or self.weights
            self.best = {name: weight.detach().cpu().clone() for name, weight in kept.items()}
        progress.worse = 0 if enough or not self._all_move else progress.worse + 1
        progress.scored = progress.step
        self._let_signals_in()

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The average in place of the weights; whatever happens meanwhile, a checkpoint holds these."""
        mean = self.average.mean()
        self.aside = {name: self.weights[name].detach().clone() for name in mean}
        try:
            self._put(mean)
            yield
        finally:
            self._put(self.aside)
            self.aside = {}

    def _put(self, weights: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, weight in weights.items():
                self.weights[name].copy_(weight)

    def _not_a_number(self, what: str, more: str = "") -> IntegrityError:
        before = self.checkpoints.names() if self.checkpoints else []
        return IntegrityError(
            f"{what} is not a number at step {self.progress.step}{more}",
            kept=f"the checkpoints before it: {', '.join(before)}" if before else "nothing of this run",
            next="lower fit.learning_rate, or use fit.precision fp32, in a new --out",
        )

    def _start(self) -> None:
        self.start, self.processor = time.perf_counter(), time.process_time()

    def _times(self) -> tuple[float, float]:
        """Seconds of training with those of earlier tries, and processor time of this process without scoring."""
        seconds = self.progress.seconds + time.perf_counter() - self.start
        return seconds, self.progress.cpu_seconds + time.process_time() - self.processor

    def _now(self) -> dict[str, float]:
        step, (seconds, cpu_seconds) = self.progress.step, self._times()
        return {"step": step, "epoch": step / self.plan.per_epoch, "seconds": seconds, "cpu_seconds": cpu_seconds}

    def _say(self, what: str) -> None:
        now, steps = self._now(), self.plan.steps
        left = (steps - now["step"]) * now["seconds"] / max(now["step"], 1)
        log.info("step %d of %d (epoch %.2f)  %s  %d s left", now["step"], steps, now["epoch"], what, left)
