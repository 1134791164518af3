"""The training loop: the only file that builds a Trainer, through its documented hooks."""

import logging
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from clinnlp.errors import IntegrityError
from clinnlp.models.device import choose_device, choose_precision
from clinnlp.training.loader import Collate, EpochBatches, Examples, Source
from clinnlp.training.schedules import curve
from clinnlp.training.settings import FitSettings

log = logging.getLogger("clinnlp")

Loss = Callable[[torch.nn.Module, dict[str, torch.Tensor], Any], torch.Tensor]


@dataclass
class Fit:
    """What a training loop did: steps, seconds, the device, and the loss and dev score over time."""

    steps: int
    seconds: float
    device: str
    precision: str
    history: list[dict[str, float]] = field(default_factory=list)
    best_score: float | None = None
    best_step: int | None = None


def plan_steps(examples: int, settings: FitSettings) -> tuple[int, int]:
    """The optimizer steps of a run, and of one epoch: its epochs, at least `min_steps`, at most `max_steps`."""
    per_epoch = math.ceil(math.ceil(examples / settings.batch) / settings.accumulate)
    steps = max(math.ceil(per_epoch * (settings.epochs or 1)), settings.min_steps, 1)
    return min(steps, settings.max_steps or steps), per_epoch


def fit(
    model: torch.nn.Module,
    source: Source,
    collate: Collate,
    loss: Loss,
    groups: list[dict[str, Any]],
    settings: FitSettings,
    seed: int,
    score: Callable[[], float] | None = None,
) -> Fit:  # fmt: skip
    """Train `model` in place and leave it with its best weights.

    `groups` are AdamW parameter groups with their peak rates. With `score` (higher is better) the model is
    scored `settings.evaluations` times, the best weights are kept, and training stops after
    `settings.patience` scores without a better one. Raises IntegrityError if the loss is not a number.
    """
    set_seed(seed)
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    steps, per_epoch = plan_steps(len(source.lengths), settings)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, settings.beta2), eps=1e-6, fused=True)
    schedule = LambdaLR(optimizer, curve(settings.schedule, steps, settings.warmup, settings.decay))
    result = Fit(steps, 0.0, device, precision)
    every = max(steps // settings.evaluations, 1) if settings.evaluations else per_epoch
    watch = _Watch(result, score, min(every, steps), settings.patience, steps)
    with tempfile.TemporaryDirectory() as unused:  # Trainer wants a folder; nothing is written there
        trainer = _Trainer(
            model=model,
            args=_arguments(unused, settings, result, seed, max(min(every, steps // 20), 1)),
            train_dataset=Examples(source),
            data_collator=collate,
            optimizers=(optimizer, schedule),
            callbacks=[watch],
            compute_loss_func=loss,
            batches=EpochBatches(source.lengths, settings.batch, seed, steps * settings.accumulate),
        )
        trainer.remove_callback(PrinterCallback)
        start = time.perf_counter()
        trainer.train()
        result.seconds = time.perf_counter() - start
        # accelerate leaves bf16 autocast around `forward`: what is saved must answer as what is scored
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    watch.restore(model)
    model.eval()
    return result


def _arguments(folder: str, settings: FitSettings, plan: Fit, seed: int, log_every: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=folder,
        max_steps=plan.steps,
        per_device_train_batch_size=settings.batch,
        gradient_accumulation_steps=settings.accumulate,
        max_grad_norm=settings.clip,
        bf16=plan.precision == "bf16",
        use_cpu=plan.device == "cpu",
        seed=seed,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        logging_steps=log_every,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=plan.device == "cuda",
    )


class _Trainer(Trainer):
    """Trainer with our order of batches and a loss that is exact under accumulation and data parallelism."""

    def __init__(self, *, batches: EpochBatches, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.batches = batches
        self.loss_is_scaled_for_ga = True  # ours is a sum over all items of the optimizer step

    def get_train_dataloader(self) -> DataLoader[Any]:
        dataset: Any = self.train_dataset
        loader = DataLoader(
            dataset,
            batch_sampler=self.batches,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        compute: Any = self.compute_loss_func
        return compute(model, dict(inputs), num_items_in_batch) * self.accelerator.num_processes


class _Watch(TrainerCallback):
    """Watches a run: loss and score over time, best weights, early stop."""

    def __init__(self, result: Fit, score: Callable[[], float] | None, every: int, patience: int, steps: int) -> None:
        self.result, self.score, self.every, self.patience, self.steps = result, score, every, patience, steps
        self.best: dict[str, torch.Tensor] | None = None
        self.worse = 0
        self.loss = math.nan
        self.start, self.processor = time.perf_counter(), time.process_time()

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.start, self.processor = time.perf_counter(), time.process_time()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
        if "loss" not in (logs or {}):
            return
        self.loss = float(logs["loss"])
        if not math.isfinite(self.loss):
            raise IntegrityError(
                f"the loss is not a number at step {state.global_step}",
                kept="nothing of this run",
                next="lower fit.learning_rate, or use fit.precision fp32",
            )
        self.result.history.append(
            self._now(state) | {"loss": self.loss, "learning_rate": float(logs["learning_rate"])}
        )
        if self.score is None:
            self._say(state, f"loss {self.loss:.4f}")

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **rest: Any) -> None:
        step = state.global_step
        if self.score is None or (step % self.every and step != self.steps):
            return
        scoring = time.process_time()
        model.eval()
        value = self.score()
        model.train()
        self.processor += time.process_time() - scoring  # not time of training
        better = self.result.best_score is None or value > self.result.best_score
        self.result.history.append(self._now(state) | {"score": value})
        loss = "" if math.isnan(self.loss) else f"loss {self.loss:.4f}  "  # the first comes after the first score
        self._say(state, f"{loss}dev {value:.4f}{'  best' if better else ''}")
        if better:
            self.result.best_score, self.result.best_step, self.worse = value, step, 0
            self.best = {n: w.detach().cpu().clone() for n, w in model.named_parameters() if w.requires_grad}
            return
        self.worse += 1
        if self.patience and self.worse >= self.patience:
            control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.result.steps = state.global_step

    def restore(self, model: torch.nn.Module) -> None:
        """Put the best weights back."""
        if self.best is not None:
            with torch.no_grad():
                for name, weight in model.named_parameters():
                    if name in self.best:
                        weight.copy_(self.best[name])

    def _now(self, state: Any) -> dict[str, float]:
        """Where the run is; `cpu_seconds` is processor time of this process without the scoring of dev."""
        return {
            "step": state.global_step,
            "epoch": state.epoch,
            "seconds": time.perf_counter() - self.start,
            "cpu_seconds": time.process_time() - self.processor,
        }

    def _say(self, state: Any, what: str) -> None:
        left = (self.steps - state.global_step) * (time.perf_counter() - self.start) / max(state.global_step, 1)
        log.info("step %d of %d (epoch %.2f)  %s  %d s left", state.global_step, self.steps, state.epoch, what, left)
