"""`clinnlp crossvalidate`: fine-tune and test on every fold; pooled and per-fold scores."""

import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clinnlp.core.document import Document
from clinnlp.core.run import write_json
from clinnlp.errors import QUARANTINED, ConfigError, DataError
from clinnlp.formats.jsonl import Jsonl
from clinnlp.recipes import finetune
from clinnlp.recipes._data import data_sha256, load_documents, load_targets, read_as, target_hashes, write_quarantine
from clinnlp.recipes._leaks import check_fold_leaks, check_trained_on
from clinnlp.recipes._output import start_run
from clinnlp.recipes._scores import Scored
from clinnlp.recipes._units import Unit
from clinnlp.text.folds import Fold, Folds, folds
from clinnlp.text.splits import split

log = logging.getLogger("clinnlp")


@dataclass(frozen=True)
class CrossValidate(finetune.Finetune):
    """Fine-tune and test on every fold of data.train; a run that was stopped goes on where it ended."""

    folds: Folds = field(default_factory=Folds)
    """How data.train is divided; data.dev_share of each fold's train groups choose its best weights."""
    keep_models: bool = False
    """Keep the model of every fold; its predictions and report are always kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("dev", "test"):
            if getattr(self.data, name) is not None:
                raise ConfigError("folds are made of data.train alone", where=f"data.{name}", next="leave it out")
        if self.data.train is None:
            raise ConfigError("this setting is required", where="data.train", next="give --data.train PATH")


def run(settings: CrossValidate) -> int:
    """Do the cross-validation; returns the exit status."""
    # 1. documents and folds
    path = str(settings.data.train)
    run = start_run("crossvalidate", settings, settings.out, settings.seed)
    run.pin("data", {"train": data_sha256(path, settings.data.format), **target_hashes(settings.data)})
    quarantined: list[Any] = []
    documents = load_documents(path, settings.data, quarantined)
    write_quarantine(run.folder, quarantined)
    made = folds(documents, settings.folds)
    shared = check_folds(settings, documents, made)
    log.info("%d notes, %d folds", len(documents), len(made))

    waived = check_trained_on(Path(settings.base), documents, settings.data.allow) if settings.base else []

    # 2. each fold by itself
    predicted: list[Document] = []
    scores: dict[str, float | None] = {}
    for fold in made:
        unit = Unit(run, fold.name, settings, settings.seed, settings.keep_models)
        unit.finish(*train_and_dev(settings, fold), fold.test, waived=shared[fold.name])
        predicted += unit.predicted
        scores[fold.name] = unit.score
        told = [*shared[fold.name], *(line for line in unit.waived if line.startswith("transductive: "))]
        waived += [f"{fold.name}: {line}" for line in told]
        log.info("%s: %d train, %d test notes, %s", fold.name, len(fold.train), len(fold.test), unit.score)

    # 3. the pooled scores: every tested note once
    tested = [document for fold in made for document in fold.test]
    task = settings.task.resolve(documents)
    report = task.evaluate(tested, predicted, task.schema(documents), settings.seed)
    known = [value for value in scores.values() if value is not None]
    per_fold = {
        "folds": scores,
        "mean": statistics.mean(known) if known else None,
        "sd": statistics.stdev(known) if len(known) > 1 else None,
        "score": settings.task.dev_score,
        "train_notes": [len(fold.train) for fold in made],
        "test_notes": [len(fold.test) for fold in made],
    }
    facts = {"notes": len(documents), "folds": len(made), "task": type(task).__name__, "base": settings.origin}
    form = read_as(path, settings.data.format, "gold")
    sides = task.scored(tested), task.scored(predicted)
    scored = Scored(*sides, report, waived=waived, seed=settings.seed, read_as=form)
    scored.write(run, "clinnlp crossvalidate: pooled over folds", facts)
    write_json(run.folder / "folds.json", {"format_version": 1, **per_fold})
    Jsonl().write(predicted, run.folder / "predictions.jsonl")
    run.finish(facts)
    log.info("pooled over folds:\n%s", (run.folder / "report.txt").read_text(encoding="utf-8"))
    log.info("%s by fold: %s", settings.task.dev_score, _told(per_fold))
    return QUARANTINED if quarantined else 0


def check_folds(settings: CrossValidate, documents: Sequence[Document], made: Sequence[Fold]) -> dict[str, list[str]]:
    """The leaks within each fold that are waived, by its name.

    Raises DataError if the notes, or those that a fold leaves to train on, hold no labels, ConfigError if those lack
    what the task's settings name, LeakError for a leak.
    """
    settings.task.resolve(documents).schema(documents)
    for fold in made:
        train, _ = train_and_dev(settings, fold)
        if not any(label for document in train for label in settings.task.gold_labels(document)):
            raise DataError(
                f"{fold.name}: its {len(train)} train notes hold no labels", where="folds",
                next="fewer folds, or more labeled patients",
            )  # fmt: skip
        try:
            settings.task.resolve(train).schema(train)
        except (ConfigError, DataError) as error:
            raise type(error)(f"{fold.name}: {error.what}", where=error.where, next=error.next) from None
    _, labeled, _ = load_targets(settings.data, [])
    return check_fold_leaks(made, labeled, settings.data.allow)


def train_and_dev(settings: CrossValidate, fold: Fold) -> tuple[Sequence[Document], Sequence[Document]]:
    """The notes of a fold to train on, and those that choose the best weights."""
    if not settings.data.dev_share:
        return fold.train, ()
    shares = {"train": 1 - settings.data.dev_share, "dev": settings.data.dev_share}
    parts = split(fold.train, shares, settings.data.split_seed)
    return parts["train"], parts["dev"]


def _told(per_fold: dict[str, Any]) -> str:
    values = ", ".join("nothing to score" if v is None else f"{v:.3f}" for v in per_fold["folds"].values())
    if per_fold["sd"] is None:
        return values
    return f"{values}; mean {per_fold['mean']:.3f}, sd {per_fold['sd']:.3f} (not an interval: folds share their notes)"
