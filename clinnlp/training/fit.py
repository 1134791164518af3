"""The training loop: the only file that builds a Trainer, through its documented hooks."""

import contextlib
import math
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from clinnlp.core.ranks import ranks
from clinnlp.core.signals import Signals, Stop
from clinnlp.errors import ConfigError, IntegrityError
from clinnlp.models.device import choose_device, choose_precision
from clinnlp.training.average import average_of
from clinnlp.training.checkpoints import Checkpoints
from clinnlp.training.dropout import attention_dropout
from clinnlp.training.loader import Batches, Examples, Source
from clinnlp.training.memory import PeakMemory
from clinnlp.training.ranks import Ranks
from clinnlp.training.schedules import curve
from clinnlp.training.settings import FitSettings
from clinnlp.training.watch import Over, Plan, Watch


@dataclass
class Fit:
    """What a training loop did: steps, seconds, the device, peak memory, and the loss and dev score over time."""

    steps: int
    seconds: float
    device: str
    precision: str
    history: list[dict[str, float]]
    best_score: float | None
    best_step: int | None
    peak_bytes: int | None


def plan_steps(examples: int, settings: FitSettings) -> tuple[int, float]:
    """The optimizer steps of a run, and of one epoch: its epochs, at least `min_steps`, at most `max_steps`."""
    batches, at_once = math.ceil(examples / settings.batch), settings.accumulate * ranks()
    steps = max(math.ceil(batches * (settings.epochs or 1) / at_once), settings.min_steps, 1)
    return min(steps, settings.max_steps or steps), batches / at_once


def fit(
    model: torch.nn.Module,
    source: Source,
    groups: list[dict[str, Any]],
    settings: FitSettings,
    seed: int,
    score: Callable[[], float] | None = None,
    checkpoints: Checkpoints | None = None,
    moving: Callable[[float], Collection[str]] | None = None,
) -> Fit:
    """Train `model` in place and leave it with its best weights.

    `groups` are AdamW parameter groups with their peak rates. With `score` (higher is better) the model is scored
    `settings.evaluations` times, the best weights are kept, and training stops after `settings.patience` scores that
    were not better by `settings.min_gain`. With `moving` only the weights move that it names at a share of the steps
    done, and patience begins when all do. With `checkpoints` the loop goes on from the newest of them, to the same
    weights as without a break; a signal saves one and ends in StoppedError. Raises IntegrityError if the loss is not a
    number, or a checkpoint is not as it was written.
    """
    set_seed(seed)
    saved = checkpoints.newest() if checkpoints else None
    device = choose_device(settings.device)
    together = Ranks(device, seed)
    precision = saved.precision if saved else together.agreed(choose_precision(settings.precision, device))
    plan = plan_of(*plan_steps(len(source.lengths), settings), settings, device, precision, together)
    done = saved.progress.step if saved else 0
    if together.agreed(done) != done:
        raise IntegrityError(
            "the processes of this run do not see the same checkpoints", next="put --out where all of them can read"
        )
    if settings.recompute:
        let_recompute(model)
    model.to(device)  # copies of weights are made before there is a Trainer
    optimizer = torch.optim.AdamW(groups, betas=(0.9, settings.beta2), eps=1e-6, fused=True)
    signals = Signals()
    memory, interruptible = PeakMemory(device), signals if checkpoints else contextlib.nullcontext()
    attending = attention_dropout(settings.attention_dropout)
    with memory, interruptible, attending, tempfile.TemporaryDirectory() as unused:
        average = partial(average_of, settings=settings)
        watch = Watch(model, optimizer, plan, score, moving, checkpoints, signals, average)
        trainer = _Trainer(source, watch, settings, seed, done, unused)
        if saved:
            watch.go_on_from(saved)
        try:
            trainer.train()
        except Over:
            pass
        except Stop:
            raise watch.stop() from None
        # accelerate leaves bf16 autocast around `forward`: what is saved must answer as what is scored
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    watch.restore_best()
    model.eval()
    told = watch.state().progress
    return Fit(told.step, told.seconds, device, precision, told.history, told.best_score, told.best_step, memory.bytes)


def let_recompute(model: Any) -> None:
    """Keep no activations within a layer. Raises ConfigError for a model that cannot compute them again."""
    try:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    except (AttributeError, ValueError):  # no layers that can, or embeddings that are not there
        raise ConfigError(
            "this model cannot compute its activations again", where="fit.recompute",
            next="leave it out; layers that are computed once (strategy.cache) need it least",
        ) from None  # fmt: skip


def plan_of(steps: int, per_epoch: float, settings: FitSettings, device: str, precision: str, together: Ranks) -> Plan:
    """What a loop of so many optimizer steps, of so many an epoch, does on the way."""
    wanted = steps // settings.evaluations if settings.evaluations else round(per_epoch)
    every = min(max(wanted, 1), steps)
    log_every = max(min(every, steps // 20), 1)
    stop = (settings.patience, settings.min_gain)
    return Plan(steps, per_epoch, every, log_every, *stop, settings.save_minutes * 60, device, precision, together)


class _Trainer(Trainer):
    """Trainer over our stream of batches, with a loss that is exact under accumulation and data parallelism.

    It sees what is left of the run as one epoch; `unused` is the folder that it wants and nothing is written to.
    """

    def __init__(self, source: Source, watch: Watch, settings: FitSettings, seed: int, done: int, unused: str) -> None:
        plan, optimizer = watch.plan, watch.optimizer
        factor = curve(settings.schedule, plan.steps, settings.warmup, settings.decay)
        arguments = TrainingArguments(
            output_dir=unused,
            max_steps=max(plan.steps - done, 1),
            per_device_train_batch_size=settings.batch,
            gradient_accumulation_steps=settings.accumulate,
            max_grad_norm=settings.clip,
            bf16=plan.precision == "bf16",
            use_cpu=plan.device == "cpu",
            seed=seed,
            save_strategy="no",
            eval_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=plan.device == "cuda",
            ddp_backend=plan.together.backend,
        )
        super().__init__(
            model=watch.model,
            args=arguments,
            train_dataset=Examples(source),
            data_collator=source.collate,
            optimizers=(optimizer, LambdaLR(optimizer, lambda step: factor(done + step))),
            compute_loss_func=source.loss,
            callbacks=[watch],
        )
        self.remove_callback(PrinterCallback)
        self.watch = watch
        together, passes = plan.together, settings.accumulate * plan.together.count
        every = (done * passes + together.rank, together.count)
        self.batches = Batches(source.lengths, settings.batch, seed, plan.steps * passes, *every)
        self.loss_is_scaled_for_ga = True  # ours is a sum over all items of the optimizer step

    def get_train_dataloader(self) -> DataLoader[Any]:
        dataset: Any = self.train_dataset
        return DataLoader(  # not prepared by accelerate: the batches are those of this process already
            dataset,
            batch_sampler=self.batches,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        compute: Any = self.compute_loss_func
        loss = compute(model, dict(inputs), num_items_in_batch) * self.accelerator.num_processes
        self.watch.add(self.watch.plan.together.mean(loss))
        return loss
