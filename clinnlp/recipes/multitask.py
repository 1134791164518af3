"""`clinnlp multitask`: one encoder and several tasks, each with its own notes, become a model folder for each task."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from clinnlp.core.run import Run, write_json
from clinnlp.errors import QUARANTINED, ConfigError
from clinnlp.models.folder import base_pins
from clinnlp.recipes._data import DataSettings, TrainingData
from clinnlp.recipes._moving import what_moves
from clinnlp.recipes._multitask import Member, OneTask, check_between, of_task, prepare, save
from clinnlp.recipes._multitask_report import write_overview
from clinnlp.recipes._output import CHECKPOINTS, checkpoints_of, start_run
from clinnlp.strategies.base import Strategy, head_names
from clinnlp.strategies.lora import Lora
from clinnlp.tasks.base import Task
from clinnlp.tasks.ner import Ner
from clinnlp.training.settings import SupervisedFit

log = logging.getLogger("clinnlp")


@dataclass(frozen=True)
class TaskSettings:
    """One of the tasks: what is predicted, from which notes, and how much its loss counts."""

    task: Task = field(default_factory=Ner)
    """What is predicted, with its options: one of `clinnlp list tasks`."""
    data: DataSettings | None = None
    """Its labeled notes; null takes those of `data`."""
    weight: float = 1.0
    """How much its loss counts beside that of the others."""


@dataclass(frozen=True, kw_only=True)
class Multitask:
    """Fine-tune one encoder or adapter for several tasks at once, so that labeling reads each note one time."""

    out: Path
    """New folder for the run; each task has a folder of its name in it."""
    base: str
    """Base model: a folder, clinnlp-mini or a hub name; of a fine-tuned folder the encoder."""
    revision: str | None = None
    """Commit of a hub base, 40 hex digits."""
    download: bool = False
    """Allow the base to be downloaded from the hub; clinnlp is offline otherwise."""
    tasks: Mapping[str, TaskSettings] = field(default_factory=dict)
    """Two or more tasks by names of your choice: what each predicts (task), its notes (data), its weight."""
    data: DataSettings = field(default_factory=DataSettings)
    """The labeled notes of tasks that name none of their own."""
    temperature: float = 2.0
    """How alike tasks of unlike size are drawn: 1 by their numbers of windows or notes n, T by n^(1/T)."""
    strategy: Strategy = field(default_factory=Lora)
    """Which weights move, and when: lora, full and others, with their options (--strategy.rank 8)."""
    fit: SupervisedFit = field(default_factory=SupervisedFit)
    """The training loop; an epoch draws as many windows or notes as all tasks have together."""
    seed: int = 13
    """Seed of the heads' weights, of what is drawn, and of dropout."""

    def __post_init__(self) -> None:
        if len(self.tasks) < 2:
            raise ConfigError(
                f"{len(self.tasks)} tasks given, two or more are needed", where="tasks",
                next="name each under tasks:, or use `clinnlp finetune` for a single one",
            )  # fmt: skip
        if bad := [name for name in self.tasks if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)]:
            raise ConfigError(
                f"{len(bad)} names are not made of letters, digits, - and _ alone", where="tasks", next="choose others"
            )
        if len({name.casefold() for name in self.tasks} | {CHECKPOINTS}) <= len(self.tasks):
            raise ConfigError(
                f"two tasks have one name, up to case, or one is called {CHECKPOINTS}: each has a folder of its name",
                where="tasks", next="choose others",
            )  # fmt: skip
        if self.temperature < 1:
            raise ConfigError("must be 1 or more", where="temperature", next="1 draws tasks by their size")
        if self.strategy.caches:
            raise ConfigError(
                "what lies under the trained layers is not kept for several tasks", where="strategy.cache",
                next="--strategy.cache false",
            )  # fmt: skip
        for name, part in self.tasks.items():
            if not part.weight > 0:
                raise ConfigError("must be over 0", where=f"tasks.{name}.weight")
            self.one(name)

    def one(self, name: str) -> OneTask:
        """The settings of one of the tasks, as of a fine-tuning. Raises ConfigError if it has no notes."""
        part = self.tasks[name]
        data = part.data or self.data
        if data.train is None:
            raise ConfigError(
                "no notes to train on", where=f"tasks.{name}.data.train",
                next=f"give --tasks.{name}.data.train PATH, or --data.train PATH for all tasks",
            )  # fmt: skip
        given = {one.name: getattr(data, one.name) for one in fields(DataSettings)}
        return OneTask(
            out=self.out / name, base=self.base, revision=self.revision, download=self.download,
            data=TrainingData(**given), task=part.task, strategy=self.strategy, fit=self.fit, seed=self.seed,
            beside=tuple(other for other in self.tasks if other != name), weight=part.weight,
            temperature=self.temperature, own_data=part.data is not None,
        )  # fmt: skip


def run(settings: Multitask) -> int:
    """Train all tasks together; returns the exit status."""
    # 1. the notes of all tasks: none is scored that any of them is trained on
    run = start_run("multitask", settings, settings.out, settings.seed)
    members = [Member.read(name, settings.one(name)) for name in settings.tasks]
    run.pin("data", {f"{one.name}: {split}": sha for one in members for split, sha in one.hashes.items()})
    run.clear(CHECKPOINTS)
    check_between(members)

    # 2. a model for each task, with a fresh head
    for one in members:
        prepare(one)
    run.pin("weights", base_pins(str(settings.base), members[0].trained.card.base_sha256))

    # 3. train all on one encoder; the mean of their dev scores chooses the weights
    checkpoints = checkpoints_of(run)
    fitted, facts = _train(settings, members, run)

    # 4. a model folder, predictions and a report for each task
    texts = [document.text for one in members for document in (*one.splits.train, *one.splits.dev)]
    for one in members:
        save(one, run, fitted, facts, texts)

    # 5. one report over all
    told = write_overview(run, members, fitted, facts)
    write_json(run.folder / "training.json", {"format_version": 1, "history": fitted.history})
    run.finish(told)
    checkpoints.remove()
    folders = " ".join(f"--models.{one.name} {run.folder / one.name / 'model'}" for one in members)
    log.info("one pass over notes: clinnlp label %s --notes PATH --out DIR", folders)
    return QUARANTINED if any(one.splits.quarantined for one in members) else 0


def _train(settings: Multitask, members: Sequence[Member], run: Run) -> tuple[Any, dict[str, Any]]:
    """Train all models in place; returns what the loop did, and facts of all tasks."""
    from clinnlp.training.fit import fit
    from clinnlp.training.multitask import Portion, Several, TasksSource, share_encoder

    strategy = settings.strategy
    fitting = replace(settings.fit, epochs=settings.fit.epochs or strategy.default_epochs)
    for one in members:
        with of_task(one.name):
            one.make_examples()
    heads = sorted({name for one in members for name in head_names(one.trained.model)})
    for one in members:
        one.trained.model = strategy.apply(one.trained.model)
    models = [one.trained.model for one in members]
    share_encoder(models)
    whole = Several(models)
    groups, moving, weights = what_moves(strategy, settings.fit, whole, heads)
    portions = [Portion(one.trained.task, one.examples, one.settings.weight) for one in members]
    pad = members[0].trained.tokenizer.pad_id or 0
    source = TasksSource(portions, pad, settings.seed, settings.temperature, settings.fit.balance)
    for one, share in zip(members, source.shares, strict=True):
        one.share = float(share)
        log.info("%s: %d notes, %d examples, %.1f %% of what is drawn", one.name, len(one.splits.train),
                 len(one.examples), 100 * one.share)  # fmt: skip
    scored = [one for one in members if one.splits.dev]
    if scored and len(scored) < len(members):
        log.warning("tasks without dev notes have no say in which weights are kept: %s",
                    ", ".join(one.name for one in members if one not in scored))  # fmt: skip

    def dev_score() -> float:
        values = {one.name: one.dev_score() for one in scored}
        log.info("dev: %s", ", ".join(f"{name} {value:.4f}" for name, value in values.items()))
        return sum(values.values()) / len(values)

    score, checkpoints = dev_score if scored else None, checkpoints_of(run)
    fitted = fit(whole, source, groups, fitting, settings.seed, score, checkpoints, moving)
    for one in members:
        one.trained.model = strategy.finish(one.trained.model)
    return fitted, weights
