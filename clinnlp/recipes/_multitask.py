"""The tasks of `multitask`, one by one: their notes, model, examples, and what is saved of each."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clinnlp import config
from clinnlp.core.run import Manifest, Run, megabytes, write_json
from clinnlp.errors import ClinnlpError, DataError, LeakError
from clinnlp.recipes._data import Splits, check_labels, load_splits, write_quarantine
from clinnlp.recipes._leaks import check_trained_on, remember_trained_on, sentence
from clinnlp.recipes._output import save_model
from clinnlp.recipes.finetune import Finetune, facts_of, predict_all, prepare_model, score_and_report
from clinnlp.text.leaks import Leak, find_leaks

if TYPE_CHECKING:
    from clinnlp.models.load import Trained
    from clinnlp.tasks.base import Example
    from clinnlp.training.fit import Fit

log = logging.getLogger("clinnlp")

VERB = "multitask task"  # in the manifest of the folder of one task
ORDER = ("train", "dev", "test")


@dataclass(frozen=True)
class OneTask(Finetune):
    """One of the tasks that were trained together, as a fine-tuning of its own."""

    beside: tuple[str, ...] = ()
    """The other tasks."""
    weight: float = 1.0
    """How much its loss counted beside that of the others."""
    temperature: float = 2.0
    """How alike tasks of unlike size were drawn."""
    own_data: bool = True
    """Whether its notes are named for it, not for all tasks."""


@dataclass
class Member:
    """One of the tasks while it is trained."""

    name: str
    settings: OneTask
    splits: Splits
    hashes: dict[str, str]
    examples: "list[Example]" = field(default_factory=list)
    ledger: Any = None
    share: float = 0.0
    measured: dict[str, Any] = field(default_factory=dict)
    _trained: "Trained | None" = None

    @classmethod
    def read(cls, name: str, settings: OneTask) -> "Member":
        """A task with its notes. Raises what `load_splits` does, with the name of the task."""
        with of_task(name):
            splits = load_splits(settings.data)
            return cls(name, settings, splits, splits.hashes(settings.data))

    @property
    def trained(self) -> "Trained":
        """Its model."""
        assert self._trained is not None
        return self._trained

    def make_examples(self) -> None:
        """Fill in the training examples. Raises DataError if there are none."""
        task, notes = self.trained.task, self.splits.train
        self.examples, self.ledger = task.examples(notes, self.trained.tokenizer, self.trained.schema)
        if not self.examples:
            told = f"none of the {len(notes)} notes holds a token to learn from"
            raise DataError(told, where="data.train", next="check the path, the format and the task")
        if self.ledger.total:
            log.info("%s\n%s", self.name, self.ledger.table())

    def dev_score(self) -> float:
        """The score of its dev notes by the weights as they are; 0 where there is none."""
        return self._scored(predict_all(self.trained, self.splits.dev))

    def tune(self) -> float | None:
        """Choose what is chosen on dev, such as a calibration; returns the dev score before that, None without dev."""
        if not self.splits.dev:
            return None
        predicted = predict_all(self.trained, self.splits.dev)
        value = self._scored(predicted)
        self.trained.task = self.trained.task.tune(self.splits.dev, predicted)
        return value

    def _scored(self, predicted: Sequence[Any]) -> float:
        task = self.trained.task
        report = task.evaluate(self.splits.dev, predicted, self.trained.schema, self.settings.seed)
        found: Any = reduce(getitem, task.dev_score.split("."), report.as_dict())
        return float(found or 0.0)


@contextlib.contextmanager
def of_task(name: str) -> Iterator[None]:
    """Let errors say of which task they are."""
    try:
        yield
    except ClinnlpError as error:
        error.where = f"tasks.{name}: {error.where}" if error.where else f"tasks.{name}"
        raise


def check_between(members: Sequence[Member]) -> None:
    """Add what is waived of leaks from the notes of one task to those that another is scored on.

    The encoder reads the training notes of all tasks. Raises LeakError for a leak that is not waived by the task that
    would be scored.
    """
    places = {f"{split} notes of {one.name}": (one, split) for split in ORDER for one in members}
    parts = {name: getattr(one.splits, split) for name, (one, split) in places.items()}
    for leak in find_leaks(parts):
        (first, before), (second, split) = places[leak.first], places[leak.second]
        if first is second or before == split:
            continue
        kind = "duplicates" if leak.kind == "same notes" else leak.kind
        told = sentence(leak)
        if kind == "short texts":
            log.warning("%s", told)
        elif kind in second.settings.data.allow:
            second.splits.waived.append(f"{kind}: {told}")
        else:
            raise _leaked(leak, kind, second, split)


def _leaked(leak: Leak, kind: str, scored: Member, split: str) -> LeakError:
    flag = f"tasks.{scored.name}.data" if scored.settings.own_data else "data"
    way = "split all tasks by the same patients" if kind == "groups" else "remove the copies"
    return LeakError(
        f"{sentence(leak)}: the encoder reads the training notes of all tasks",
        where=f"{flag}.{split}",
        next=f"{way}, or --{flag}.allow {kind}: the report then says so on top",
    )


def prepare(one: Member) -> None:
    """Give a task its model, with a fresh head. Raises DataError for labels that do not fit, LeakError."""
    settings, splits = one.settings, one.splits
    with of_task(one.name):
        task = settings.task.resolve(splits.train)
        schema = task.schema(splits.train)
        for split in ("dev", "test"):
            check_labels(task, getattr(splits, split), schema, split, settings.data)
        splits.waived += check_trained_on(Path(settings.origin), splits.test, settings.data.allow)
        one._trained = prepare_model(settings, task, schema)


def passes(members: Sequence[Member]) -> int:
    """How often labeling by all tasks reads a note: once where they cut it alike."""
    tasks = [one.trained.task for one in members]
    return len({(type(task).cut, task.cut_rule) for task in tasks})


def save(one: Member, outer: Run, fitted: "Fit", facts: dict[str, Any], texts: Sequence[str]) -> None:
    """Save the model, predictions and report of a task in a folder of its name."""
    settings, splits = one.settings, one.splits
    plain = config.plain(settings)
    run = Run(outer.folder / one.name, Manifest(VERB, plain, config.fingerprint(settings), settings.seed))
    run.pin("data", one.hashes)
    run.pin("weights", outer.manifest.weights)
    write_quarantine(run.folder, splits.quarantined)
    write_json(run.folder / "alignment.json", {"train": one.ledger.as_dict()})
    dev = one.tune()
    proof = save_model(one.trained, run.folder / "model", proven=True)
    remember_trained_on(run, texts, "training", settings.base)
    told = facts_of(settings, one.trained, splits, fitted)
    told["best mean dev score"] = told["best dev score"]
    told |= {"best dev score": dev, "trained with": ", ".join(settings.beside), "share drawn": round(one.share, 4)}
    told |= facts | proof | {"model MB": round(megabytes(run.folder / "model"), 1)}
    told |= {"waived": "; ".join(splits.waived)} if splits.waived else {}
    score_and_report(settings, one.trained, splits, run, told, [])
    run.finish(told)
    one.measured = {"dev": dev}
