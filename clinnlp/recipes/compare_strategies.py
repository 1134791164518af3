"""`clinnlp compare strategies`: fine-tune one task by several strategies at equal budget, in one table."""

import itertools
import json
import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from clinnlp import config
from clinnlp.core.run import MANIFEST, Run, is_done, write_json
from clinnlp.errors import QUARANTINED, ConfigError, DataError
from clinnlp.recipes import compare, crossvalidate, finetune
from clinnlp.recipes._data import Splits, data_sha256, load_documents, load_splits, write_quarantine
from clinnlp.recipes._output import start_run
from clinnlp.recipes._scores import provenance
from clinnlp.recipes._tuning import SAME, is_within, paths
from clinnlp.recipes._units import Unit
from clinnlp.text.folds import Folds, folds
from clinnlp.training.settings import SupervisedFit

log = logging.getLogger("clinnlp")

COMPARISON = "comparison"
HEADS = ("arm", "tuned", "score", "sd", "95 % interval", "minus {}", "p, Holm", "trained", "minutes", "peak MB",
         "MB stored")  # fmt: skip
OWN_DATA = ("data.target", "data.target_weight", "data.dev_of")  # for arms with a domain method beside one without


@dataclass(frozen=True)
class CompareStrategies(finetune.Finetune):
    """Fine-tune one task by several strategies, seeds and folds at equal budget, and test the differences.

    A run that was stopped goes on where it ended, cell by cell.
    """

    arms: Mapping[str, Any] = field(default_factory=dict)
    """By name, the settings of finetune in which an arm differs, by dotted name; a list of values is tuned on dev. The
    labeled notes, the task and the seed are the same for all."""
    against: str | None = None
    """The arm that all others are compared with; null takes the first."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Seeds of training; all arms have the same. Values are tuned with the first."""
    folds: Folds | None = None
    """Test on every fold of data.train in place of a test split; null takes data.test."""
    fit: SupervisedFit = field(default_factory=lambda: SupervisedFit(epochs=20, patience=0))
    """The training loop: the same steps for all arms, without an early stop."""
    keep_models: bool = False
    """Keep every model; predictions and reports are always kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.arms) < 2:
            raise ConfigError(
                f"{len(self.arms)} arms: there is nothing to compare", where="arms",
                next="give two or more, as in configs/compare_strategies",
            )  # fmt: skip
        if len({slug(name) for name in self.arms}) < len(self.arms):
            raise ConfigError("two names differ in signs alone", where="arms", next="give each arm a name of its own")
        if self.baseline not in self.arms:
            raise ConfigError(f"there is no arm {self.against!r}", where="against", next=f"name one of {[*self.arms]}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError("give one seed or more, each once", where="seeds")
        if not all(0 <= seed < 2**32 for seed in self.seeds):
            raise ConfigError("must be from 0 to 4294967295", where="seeds")
        for name in self.arms:
            self.choices(name)
        if not (self.fit.epochs or self.fit.max_steps):
            raise ConfigError("arms need the same budget", where="fit.epochs", next="give --fit.epochs 20")

    @property
    def baseline(self) -> str:
        """The arm that all others are compared with."""
        return self.against or next(iter(self.arms))

    def choices(self, name: str) -> list[tuple[dict[str, Any], finetune.Finetune]]:
        """What is tuned of an arm, in each combination, with the settings that result. Raises ConfigError."""
        arm = self.arms[name]
        if not isinstance(arm, Mapping):
            raise ConfigError(
                "should be settings (key: value)", where=f"arms.{name}", next="{} takes the settings as given"
            )
        for path, _ in paths(arm):
            if is_within(path, SAME) and path not in OWN_DATA:
                raise ConfigError(
                    "this setting is the same for all arms, or their scores could not be compared",
                    where=f"arms.{name}.{path}",
                    next="set it beside arms; an arm may change base, strategy, domain, fit, and options of the task",
                )
        shared = finetune.Finetune(**_common(self))
        tuned = {key: value for key, value in arm.items() if isinstance(value, list)}
        found = []
        for values in itertools.product(*tuned.values()):
            chosen = dict(zip(tuned, values, strict=True))
            try:
                found.append((chosen, config.changed(shared, {**arm, **chosen})))
            except ConfigError as error:
                raise ConfigError(error.what, where=f"arms.{name}: {error.where}", next=error.next) from None
        if not found:
            raise ConfigError("there is no value to try", where=f"arms.{name}", next="give a list with values")
        return found


@dataclass(frozen=True)
class _Cells:
    """The finished runs of one arm, and what was tuned of it."""

    arm: str
    tuned: Mapping[str, Any]
    folders: list[Path]

    def cost(self, name: str, per: str | None = None) -> float | None:
        """The mean of a fact over all fine-tuning runs of the arm, as a share of another with `per`."""
        found = []
        for path in sorted(path for folder in self.folders for path in folder.rglob(MANIFEST)):
            facts = json.loads(path.read_bytes())["facts"]
            if facts.get(name) is not None:
                found.append(facts[name] / (facts[per] if per else 1))
        return fmean(found) if found else None


def run(settings: CompareStrategies) -> int:
    """Train all cells and compare them; returns the exit status."""
    # 1. documents, the same for all arms
    run = start_run("compare strategies", settings, settings.out, settings.seed)
    splits = _documents(settings, run)
    write_quarantine(run.folder, splits.quarantined)

    # 2. each arm: what is tuned on dev notes, then every seed
    arms = []
    for name in settings.arms:
        tuned, chosen = _tuned(settings, name, splits, run)
        cells = _Cells(name, tuned, [_cell(settings, name, chosen, seed, splits, run) for seed in settings.seeds])
        arms.append(cells)

    # 3. compare, and one table
    folder = run.folder / COMPARISON
    shutil.rmtree(folder, ignore_errors=True)
    compare.run(
        compare.Compare(
            runs=tuple(path for arm in arms for path in arm.folders),
            arms=tuple(arm.arm for arm in arms for _ in arm.folders),
            against=settings.baseline, label_sets="join", out=folder,
        )
    )  # fmt: skip
    _write(run, settings, arms)
    run.finish({"arms": len(arms), "seeds": len(settings.seeds), "base": settings.origin})
    log.info("%s", (run.folder / "report.txt").read_text(encoding="utf-8"))
    return QUARANTINED if splits.quarantined else 0


def slug(name: str) -> str:
    """A name as a folder's."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()


def _documents(settings: CompareStrategies, run: Run) -> Splits:
    """The splits to tune and test on; with folds those of the first fold. Raises DataError or ConfigError."""
    if settings.folds is None:
        splits = load_splits(settings.data)
        run.pin("data", splits.hashes(settings.data))
        if not splits.test:
            raise DataError(
                "there are no test notes", next="give --data.test PATH, --data.test_share 0.2 or --folds.count 5"
            )
    else:
        validated = crossvalidate.CrossValidate(**_common(settings), folds=settings.folds)
        path = str(validated.data.train)
        run.pin("data", {"train": data_sha256(path, settings.data.format)})
        quarantined: list[Any] = []
        documents = load_documents(path, settings.data, quarantined)
        made = folds(documents, settings.folds)
        waived = crossvalidate.check_folds(validated, documents, made)[made[0].name]
        train, dev = crossvalidate.train_and_dev(validated, made[0])
        splits = Splits(list(train), list(dev), list(made[0].test), quarantined, waived)
    if not splits.dev and any(len(settings.choices(name)) > 1 for name in settings.arms):
        raise ConfigError(
            "values are tuned on dev notes, and there are none", where="data.dev",
            next="give --data.dev PATH or --data.dev_share 0.1",
        )  # fmt: skip
    return splits


def _common(settings: finetune.Finetune) -> dict[str, Any]:
    return {own.name: getattr(settings, own.name) for own in fields(finetune.Finetune)}


def _tuned(
    settings: CompareStrategies, name: str, splits: Splits, run: Run
) -> tuple[Mapping[str, Any], finetune.Finetune]:
    """The combination of an arm that is best on dev notes, the first of equal ones."""
    choices = settings.choices(name)
    if len(choices) == 1:
        return choices[0]
    scores = []
    for tuned, chosen in choices:
        told = "-".join(f"{key.rsplit('.', 1)[-1]}-{value}" for key, value in tuned.items())
        unit = Unit(run, f"{slug(name)}-tuned-{slug(told)}", chosen, settings.seeds[0], keep_model=False)
        unit.finish(splits.train, splits.dev, (), waived=splits.waived)
        score = unit.score
        scores.append(-1.0 if score is None else score)
        log.info("%s: %s: %s on dev %s", name, told, settings.task.dev_score, score)
    return choices[scores.index(max(scores))]


def _cell(
    settings: CompareStrategies, name: str, chosen: finetune.Finetune, seed: int, splits: Splits, run: Run
) -> Path:
    """The finished run of an arm with a seed."""
    label = f"{slug(name)}-seed-{seed}"
    if settings.folds is None:
        unit = Unit(run, label, chosen, seed, settings.keep_models)
        unit.finish(splits.train, splits.dev, splits.test, waived=splits.waived)
        log.info("%s, seed %d: %s %s", name, seed, settings.task.dev_score, unit.score)
        return unit.folder
    own = replace(chosen, out=run.folder / label, seed=seed)
    crossed = crossvalidate.CrossValidate(**_common(own), folds=settings.folds, keep_models=settings.keep_models)
    if not is_done(own.out):
        crossvalidate.run(crossed)
    return own.out


def _write(run: Run, settings: CompareStrategies, arms: Sequence[_Cells]) -> None:
    """Write the one table as metrics.json, report.txt and report.html; the rest is in the comparison."""
    from clinnlp.core.report import Report
    from clinnlp.evaluation.comparison_report import text_table
    from clinnlp.evaluation.page import Surroundings, html_report
    from clinnlp.evaluation.panels import Panel, Table
    from clinnlp.evaluation.rendering import above

    compared = json.loads((run.folder / COMPARISON / "metrics.json").read_bytes())
    part = settings.task.dev_score.split(".")[0]
    measure = next(iter(compared[part]))
    values = {arm.arm: _values(arm, compared[part][measure]) for arm in arms}
    heads = tuple(head.format(settings.baseline) for head in HEADS)
    rows = [_row(name, value) for name, value in values.items()]
    data = f"{len(settings.seeds)} seeds" + (f", {settings.folds.by} folds" if settings.folds else "")
    sentences = (
        f"Score: {measure.replace('_', ' ')} of {part} on the test notes, mean over {data}",
        "Intervals, p-values (adjusted over the arms) and what they mean: comparison/report.html",
        "Tuned values were chosen on dev notes with the first seed; minutes and peak memory are those of training",
    )
    waived = compared.get("waived", [])
    metrics = {
        "format_version": 1,
        **({"waived": waived} if waived else {}),
        "score": f"{part} {measure}",
        "arms": values,
    }
    write_json(run.folder / "metrics.json", metrics)
    told = "".join(f"{sentence}.\n" for sentence in sentences)
    text = f"{above(waived)}{text_table(heads, rows, 2)}\n{told}"
    (run.folder / "report.txt").write_text(text, encoding="utf-8")
    known, shown = provenance(run)
    table: Table = Table(heads, tuple(tuple(row) for row in rows))
    around = Surroundings(known, shown, waived)
    panels = [Panel("Strategies", sentences, (table,))]
    page = html_report(Report(), "clinnlp compare strategies", around, panels)
    (run.folder / "report.html").write_text(page, encoding="utf-8")


def _values(arm: _Cells, compared: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of an arm."""
    pair = next((pair for pair in compared["pairs"] if pair["first"] == arm.arm), None)
    seconds = arm.cost("train seconds")
    return {
        "tuned": dict(arm.tuned), **compared["arms"][arm.arm], "against": pair,
        "trained_share": arm.cost("trained weights", per="weights"),
        "minutes": None if seconds is None else seconds / 60,
        "peak_mb": arm.cost("peak MB"), "stored_mb": arm.cost("model MB"),
    }  # fmt: skip


def _row(name: str, value: Mapping[str, Any]) -> list[str]:
    def form(number: float | None, shape: str) -> str:
        return "-" if number is None else format(number, shape)

    pair, interval = value["against"] or {}, value["interval"]
    return [
        name, ", ".join(f"{key.rsplit('.', 1)[-1]} {tuned}" for key, tuned in value["tuned"].items()) or "-",
        form(value["mean"], ".4f"), form(value["sd"], ".4f"),
        f"{interval['low']:.4f} to {interval['high']:.4f}" if interval else "-",
        form(pair.get("difference"), "+.4f"), form(pair.get("p_holm"), ".4f"), form(value["trained_share"], ".2%"),
        form(value["minutes"], ",.1f"), form(value["peak_mb"], ",.0f"), form(value["stored_mb"], ",.1f"),
    ]  # fmt: skip
