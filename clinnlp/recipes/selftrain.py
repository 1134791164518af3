"""`clinnlp selftrain`: a teacher labels notes without labels where it is sure, and a student learns from both."""

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clinnlp.core.document import Document
from clinnlp.core.run import Run, is_done
from clinnlp.errors import QUARANTINED, ConfigError, DataError
from clinnlp.formats.jsonl import Jsonl
from clinnlp.models.folder import Card, weights_sha256
from clinnlp.recipes import compare, evaluate, finetune
from clinnlp.recipes._data import DataSettings, Splits, TrainingData, data_sha256, load_documents, load_splits
from clinnlp.recipes._data import write_quarantine as set_aside
from clinnlp.recipes._leaks import check_target, check_trained_on
from clinnlp.recipes._output import start_run
from clinnlp.recipes._reading import check_readable, read_in_parts
from clinnlp.recipes._selftrain_report import write_report
from clinnlp.recipes._silver import Sure, counted, is_kept, on_dev
from clinnlp.recipes._units import Unit
from clinnlp.tasks.ner import Ner
from clinnlp.text.duplicates import normalised

if TYPE_CHECKING:
    from clinnlp.models.load import Trained

log = logging.getLogger("clinnlp")

READING, ON_DEV = "reading", "reading-dev"  # folders of parts, kept while the run lasts


@dataclass(frozen=True)
class SelfTrainingData(TrainingData):
    """Where the labeled notes are, and those without labels that the teacher reads."""

    unlabeled: str | None = None
    """Notes without labels (any that they have are not read), stored as the others; never dev or test notes."""


@dataclass(frozen=True)
class SelfTrain(finetune.Finetune):
    """Self-training: a calibrated teacher labels notes, and a student is trained on gold and what was sure."""

    data: SelfTrainingData = field(default_factory=SelfTrainingData)
    """The labeled notes, and the unlabeled ones (data.unlabeled)."""
    teacher: Path | None = None
    """A fine-tuned model folder as the teacher, of the same task and labels; null: one is fine-tuned first."""
    teacher_base: str | None = None
    """Where its base model lies, if it is an adapter and that moved."""
    keep: float = 0.9
    """Calibrated probability from which a span or label is kept."""
    absent: float = 0.1
    """Up to this probability a word is taken to be in no entity, and a label of several not to be there; what lies
    between both is masked in entities, and of note labels leaves the note out."""
    raw_scores: bool = False
    """Take scores as they are where dev holds too little to calibrate them; the run is refused otherwise."""
    unlabeled_notes: int = 2_000
    """Unlabeled notes that the teacher reads at most, drawn by the seed."""
    gold_times: int | None = None
    """How often each labeled note stands beside the silver ones; null: until both are as many, 10 times at most."""
    student_epochs: float | None = None
    """Epochs of the student over gold and silver; null: as many as read twice the notes that the teacher's fit reads,
    from 1 to the epochs of that."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.absent < self.keep <= 1:
            raise ConfigError(
                "must be under keep, and both from 0 to 1", where="absent", next="as keep 0.9, absent 0.1"
            )
        for name in ("unlabeled_notes", "gold_times"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigError("must be 1 or more", where=name)
        if self.student_epochs is not None and self.student_epochs <= 0:
            raise ConfigError("must be more than 0", where="student_epochs")
        check_readable(self.task, "task")
        if self.data.unlabeled is None:
            raise ConfigError("this setting is required", where="data.unlabeled", next="give --data.unlabeled PATH")
        if self.teacher is not None and self.data.test is None:
            raise ConfigError(
                "a teacher that is given is scored on a file of test notes", where="data.test",
                next="give --data.test PATH, or let the teacher be fine-tuned here",
            )  # fmt: skip


def run(settings: SelfTrain) -> int:
    """Do the self-training; returns the exit status."""
    # 1. labeled and unlabeled notes
    splits = load_splits(settings.data)
    if not splits.dev:
        raise DataError(
            "there are no dev notes: the scores of the teacher cannot be calibrated", where="data.dev",
            next="--data.dev PATH or --data.dev_share 0.2",
        )  # fmt: skip
    given = load_documents(str(settings.data.unlabeled), settings.data, splits.quarantined)
    waived = [*splits.waived, *check_target(given, splits.test, settings.data.allow, "unlabeled")]
    unlabeled, left_out = _usable(given, splits, settings)
    run = start_run("selftrain", settings, settings.out, settings.seed)
    unlabeled_sha256 = data_sha256(str(settings.data.unlabeled), settings.data.format)
    run.pin("data", splits.hashes(settings.data) | {"unlabeled": unlabeled_sha256})
    set_aside(run.folder, splits.quarantined)

    # 2. the teacher, calibrated on dev
    plain = _plain(settings)
    trained = _teacher(settings, plain, splits, run)

    # 3. silver notes, and what the same rule makes of dev
    sure = Sure(settings.keep, settings.absent).keeper(trained.task, trained.schema.labels)
    read = read_in_parts(run, READING, trained, unlabeled, sure)
    dev = on_dev(splits.dev, read_in_parts(run, ON_DEV, trained, splits.dev, sure), isinstance(trained.task, Ner))
    silver, counts = [note for note in read if is_kept(note)], counted(read)
    if not silver:
        raise DataError(
            f"of {len(read):,} unlabeled notes none holds what is kept from {settings.keep:g}: the highest calibrated "
            f"score is {counts['best']:.3f}",
            where="keep", next="label more notes, or choose a lower --keep in a new --out; --teacher takes the old one",
        )  # fmt: skip
    Jsonl().write(silver, run.folder / "silver.jsonl")
    log.info("silver: %d of %d notes", len(silver), len(read))

    # 4. the student, from the same base
    times = settings.gold_times or min(max(math.ceil(len(silver) / len(splits.train)), 1), 10)
    epochs = _student_epochs(settings, len(splits.train), times, len(silver))
    student = replace(plain, fit=replace(plain.fit, epochs=epochs))
    Unit(run, "student", student, settings.seed, keep_model=True).finish(
        [*splits.train * times, *silver], splits.dev, splits.test
    )

    # 5. both on the same notes, and the report
    compared = _compare(run, settings.seed)
    notes = {"gold": len(splits.train), "gold_times": times, "dev": len(splits.dev), "test": len(splits.test),
             "unlabeled": len(given), "left_out": left_out, "student_epochs": epochs}  # fmt: skip
    calibration = trained.task.calibration.reason  # type: ignore[attr-defined]
    facts = write_report(run, notes, {"silver": counts, "dev": dev, "calibration": calibration}, compared, waived)
    for name in (READING, ON_DEV):
        shutil.rmtree(run.folder / name, ignore_errors=True)
    run.finish(facts)
    log.info("%s", (run.folder / "report.txt").read_text(encoding="utf-8"))
    log.info("student: %s", run.folder / "student" / "model")
    return QUARANTINED if splits.quarantined else 0


def _usable(given: Sequence[Document], splits: Splits, settings: SelfTrain) -> tuple[list[Document], dict[str, int]]:
    """At most `unlabeled_notes` of the unlabeled notes without their labels, and why how many others are left out."""
    known = {normalised(note.text) for note in (*splits.train, *splits.target_labeled, *splits.dev)}
    patients = {note.group for note in splits.dev} - {None}
    left = {"empty": 0, "copies of each other": 0, "labeled notes": 0, "of dev patients": 0, "not drawn": 0}
    kept: list[Document] = []
    seen: set[str] = set()
    for note in given:
        text = normalised(note.text)
        if not text:
            left["empty"] += 1
        elif text in known:
            left["labeled notes"] += 1
        elif note.group in patients:
            left["of dev patients"] += 1
        elif text in seen:
            left["copies of each other"] += 1
        else:
            seen.add(text)
            kept.append(replace(note, spans=(), labels=(), meta={}))
    if not kept:
        told = ", ".join(f"{name}: {count:,}" for name, count in left.items() if count)
        raise DataError(f"no unlabeled note is left ({told})", where="data.unlabeled", next="give other notes")
    places = np.sort(np.random.default_rng(settings.seed).permutation(len(kept))[: settings.unlabeled_notes])
    left["not drawn"] = len(kept) - len(places)
    return [kept[place] for place in places.tolist()], left


def _plain(settings: SelfTrain) -> finetune.Finetune:
    """The fine-tuning that teacher and student share, as `finetune` would read it."""
    data = TrainingData(**{one.name: getattr(settings.data, one.name) for one in fields(TrainingData)})
    given = {one.name: getattr(settings, one.name) for one in fields(finetune.Finetune)}
    return finetune.Finetune(**given | {"data": data})


def _teacher(settings: SelfTrain, plain: finetune.Finetune, splits: Splits, run: Run) -> "Trained":
    """The teacher, fine-tuned or given, scored on test, its scores calibrated on dev.

    Raises ConfigError for one of another task or other labels, DataError where dev does not suffice.
    """
    from clinnlp.engines.base import run_by
    from clinnlp.labeling.predict import predict
    from clinnlp.models.load import load_trained

    if settings.teacher is None:
        Unit(run, "teacher", plain, settings.seed, keep_model=True).finish(splits.train, splits.dev, splits.test)
        folder = run.folder / "teacher" / "model"
    else:
        folder = settings.teacher
        _check_teacher(settings, folder, splits)
        run.pin("weights", {"teacher": weights_sha256(folder)})
        _score_teacher(settings, folder, run)
    trained = run_by(load_trained(folder, settings.teacher_base if settings.teacher is not None else None), None)
    task: Any = trained.task.tune(splits.dev, list(predict(trained, splits.dev)))
    if not task.calibration.items:
        if not settings.raw_scores:
            raise DataError(
                f"the scores of the teacher cannot be calibrated ({task.calibration.reason})", where="data.dev",
                next="give more dev notes, or --raw_scores true to take the scores as they are",
            )  # fmt: skip
        log.warning("scores are taken as they are: calibration %s", task.calibration.reason)
    trained.task = task
    return trained


def _check_teacher(settings: SelfTrain, folder: Path, splits: Splits) -> None:
    if not folder.is_dir():
        raise ConfigError("no such model folder", where="teacher", next="check --teacher")
    card = Card.read(folder)
    if type(card.task) is not type(settings.task):
        told = f"the teacher is a model of {type(card.task).__name__}, and the task is {type(settings.task).__name__}"
        raise ConfigError(told, where="teacher", next="give another --teacher, or another --task")
    theirs, ours = set(card.schema.labels), set(settings.task.schema(splits.train).labels)
    if theirs != ours:
        alone = {"only of the teacher": theirs - ours, "only of the notes": ours - theirs}
        told = "; ".join(f"{who}: {', '.join(map(repr, sorted(names)))}" for who, names in alone.items() if names)
        next = "give a teacher of these labels, or other names with --data.label_map.X Y"
        raise ConfigError(f"the teacher has other labels than the notes ({told})", where="teacher", next=next)
    check_trained_on(folder, splits.test, settings.data.allow)


def _score_teacher(settings: SelfTrain, folder: Path, run: Run) -> None:
    """Score a given teacher on the test notes, unless an earlier try did."""
    out = run.folder / "teacher"
    if is_done(out):
        return
    data = DataSettings(**{one.name: getattr(settings.data, one.name) for one in fields(DataSettings)})
    alone = replace(data, train=None, dev=None, unknown_labels="miss")
    evaluate.run(evaluate.Evaluate(out, folder, settings.teacher_base, data=alone, seed=settings.seed))


def _student_epochs(settings: SelfTrain, gold: int, times: int, silver: int) -> float:
    if settings.student_epochs is not None:
        return settings.student_epochs
    epochs = settings.fit.epochs or settings.strategy.default_epochs
    return round(min(max(2 * epochs * gold / (times * gold + silver), 1.0), max(epochs, 1.0)), 2)


def _compare(run: Run, seed: int) -> dict[str, Any]:
    """What `compare` says of teacher and student; metrics.json."""
    import json

    out = run.folder / "compare"
    if not is_done(out):
        shutil.rmtree(out, ignore_errors=True)
        runs = (run.folder / "teacher", run.folder / "student")
        compare.run(compare.Compare(runs, out, "teacher,student", "teacher", label_sets="join", seed=seed))
    values: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return values
