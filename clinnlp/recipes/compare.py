"""`clinnlp compare`: two or more finished runs on the same documents, their differences tested."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from clinnlp.core.document import Document
from clinnlp.core.report import Report
from clinnlp.core.run import Run, write_json
from clinnlp.errors import ConfigError, DataError, IntegrityError
from clinnlp.recipes._budget import Budget, budget_of, budget_verdict
from clinnlp.recipes._data import DataSettings
from clinnlp.recipes._output import start_run
from clinnlp.recipes._over_data_sets import are_comparisons, compare_over_data_sets
from clinnlp.recipes._over_folds import over_folds
from clinnlp.recipes._over_sizes import over_sizes
from clinnlp.recipes._runs import StoredRun, answers_of, gold_of, named_arms, predictions_of, read_runs, same_gold
from clinnlp.recipes._scores import provenance

if TYPE_CHECKING:
    from clinnlp.evaluation.comparison import Measure, RunCounts
    from clinnlp.evaluation.panels import Panel

log = logging.getLogger("clinnlp")

TITLES = {"entity": "Entities, strict", "notes": "Notes"}


@dataclass(frozen=True)
class Compare:
    """Compare finished runs on the same documents: differences with intervals and p-values, and costs.

    Runs on three or more numbers of training notes, with other settings equal, give the learning curve too. Given
    six or more runs of compare, one for each data set, the arms are compared over data sets (Wilcoxon).
    """

    positionals: ClassVar[tuple[str, ...]] = ("runs...",)

    runs: tuple[Path, ...]
    """Folders of two or more finetune, evaluate or crossvalidate runs; or of six or more compare runs."""
    out: Path
    """New folder for the comparison."""
    arms: tuple[str, ...] | str = ()
    """The arm of each run, as a,a,b,b; without, runs that differ in the seed alone are one arm."""
    against: str | None = None
    """Compare every arm with this one and no others, so that fewer p-values are adjusted; null compares all pairs."""
    data: DataSettings = field(default_factory=DataSettings)
    """The gold notes, if they are not where the runs found them; only data.test and its format are read."""
    label_sets: Literal["refuse", "join"] = "refuse"
    """What to do with runs whose label sets differ: stop, or score all over the labels of all."""
    interval: Literal["percentile", "bca"] = "percentile"
    """Bootstrap interval: percentile, or bias-corrected and accelerated."""
    resamples: int = 10_000
    """Resamples of the bootstrap."""
    rounds: int = 10_000
    """Rounds of approximate randomization; no p is under 1 / (rounds + 1)."""
    seed: int = 13
    """Seed of resamples and rounds."""

    def __post_init__(self) -> None:
        if len(self.runs) < 2:
            raise ConfigError(
                f"a comparison takes two runs or more, got {len(self.runs)}", where="runs", next="name another run"
            )
        for name in ("resamples", "rounds"):
            if getattr(self, name) < 100:
                raise ConfigError("must be 100 or more", where=name)
        names = self.arms.split(",") if isinstance(self.arms, str) else self.arms
        names = tuple(name.strip() for name in names)
        if names and (len(names) != len(self.runs) or not all(names) or len(set(names)) < 2):
            raise ConfigError(
                f"{len(names)} names, {len(set(names))} of them different, for {len(self.runs)} runs",
                where="arms",
                next="give one name per run and two arms or more: --arms a,a,b,b",
            )
        object.__setattr__(self, "arms", names)


def run(settings: Compare) -> int:
    """Do the comparison; returns the exit status."""
    # 1. the runs, what they predicted, and the gold that they share
    run = start_run("compare", settings, settings.out, settings.seed)
    run.clear()
    if are_comparisons(settings.runs):
        return compare_over_data_sets(run, settings.runs)
    stored = read_runs(settings.runs)
    parts = _same_parts(stored)
    predicted = [predictions_of(one) for one in stored]
    gold = _shared_gold(stored, predicted, settings.data)
    labels = {part: _same_labels(stored, part, settings.label_sets) for part in parts}
    arms = _arms(settings, stored)
    run.manifest.data = {f"{one.name}: {name}": sha for one in stored for name, sha in one.hashes.items()}

    # 2. scores, intervals and tests
    from clinnlp.evaluation.comparison import Drawing, compare_runs
    from clinnlp.evaluation.comparison_labels import compare_labels, label_panels, labels_text
    from clinnlp.evaluation.comparison_page import comparison_panels
    from clinnlp.evaluation.comparison_report import comparison_text, comparison_values
    from clinnlp.evaluation.learning_page import curve_panel, curve_text
    from clinnlp.evaluation.pairing import count_data
    from clinnlp.evaluation.rendering import printable
    from clinnlp.evaluation.resample import units_of

    how = Drawing(settings.seed, settings.resamples, settings.rounds, settings.interval, settings.against)
    units = units_of(gold)
    values: dict[str, Any] = {"format_version": 1, "data": asdict(count_data(gold))}
    values["runs"] = {one.name: one.described(arm) for one, arm in zip(stored, arms, strict=True)}
    texts: list[str] = []
    panels: list[Panel] = []
    for part in parts:
        counted = [
            _counted(one, arm, part, labels[part], (gold, answers))
            for one, arm, answers in zip(stored, arms, predicted, strict=True)
        ]
        made = [compare_runs(counted, units, measure, how) for measure in _measures(stored, part)]
        by_label = compare_labels(counted, units, labels[part], how)
        folds = list(over_folds(stored, made[0].contrasts, part))
        values[part] = {one.measure.key: comparison_values(one) for one in made}
        values[part]["by_label"] = {label: comparison_values(one) for label, one in by_label.items()}
        values[part]["over_folds"] = [told for told, _ in folds]
        curves, headline = over_sizes(stored, made[0].runs, settings.seed), made[0].measure.name
        values[part]["learning_curves"] = {name: curve.as_dict() for name, curve in curves.items()}
        title = f"{TITLES[part]}: {len(gold):,} documents, the same in all {len(stored)} runs\n{_warning(stored)}\n"
        text = comparison_text(made, {one.name: one.costs for one in stored}, {one.name: one.seed for one in stored})
        texts.append(title + text + "".join(f"{sentence}.\n" for _, sentence in folds) + labels_text(by_label))
        panels += comparison_panels(TITLES[part], made, {one.name: one.costs for one in stored}, [s for _, s in folds])
        panels += label_panels(TITLES[part], by_label)
        for name, curve in curves.items():
            texts.append(f"Learning curve of {printable(name)}\n\n{curve_text(curve, headline)}")
            panels.append(curve_panel(curve, headline, f"{TITLES[part]}: learning curve of {name}"))

    # 3. report, with what each arm was given
    _write(run, (stored, arms), gold, (values, texts, panels))
    run.finish({"runs": len(stored), "arms": len(set(arms)), "documents": len(gold)})
    log.info("%s", (run.folder / "report.txt").read_text(encoding="utf-8"))
    log.info("report: %s", run.folder / "report.html")
    return 0


def _write(
    run: Run,
    compared: tuple[Sequence[StoredRun], Sequence[str]],
    gold: Sequence[Document],
    found: "tuple[dict[str, Any], list[str], list[Panel]]",
) -> None:
    """Write metrics.json, report.txt and report.html from what was found, with the budgets of the runs by arm."""
    from clinnlp.evaluation.comparison_page import budget_panel
    from clinnlp.evaluation.page import Surroundings, html_report
    from clinnlp.evaluation.pairing import count_data
    from clinnlp.evaluation.rendering import above, printable

    (stored, arms), (values, texts, panels) = compared, found
    budgets = {arm: [budget_of(one) for one, own in zip(stored, arms, strict=True) if own == arm] for arm in arms}
    same, verdict = budget_verdict(budgets)
    waived = _waived(stored)
    if waived:
        values["waived"] = waived
    values["budget"] = {"same": same, "arms": budgets}
    known, settings = provenance(run)
    notices = [line for line in (_warning(stored).strip(), verdict if same is False else "") if line]
    facts = {"runs": ", ".join(one.name for one in stored), **known}
    page = html_report(
        Report(data=count_data(gold)),
        "clinnlp compare",
        Surroundings(facts, settings, waived, notices),
        [*panels, budget_panel(budgets, verdict)] if _is_known(budgets) else panels,
    )
    write_json(run.folder / "metrics.json", values)
    text = above(waived) + "\n".join([*texts, f"{printable(verdict)}.\n"])
    (run.folder / "report.txt").write_text(text, encoding="utf-8")
    (run.folder / "report.html").write_text(page, encoding="utf-8")


def _waived(stored: Sequence[StoredRun]) -> list[str]:
    """What was waived of leaks in the runs, each once, with the runs that say so unless all do."""
    runs: dict[str, list[str]] = {}
    for one in stored:
        for line in one.metrics.get("waived", ()):
            runs.setdefault(line, []).append(one.name)
    return [line if len(names) == len(stored) else f"{', '.join(names)}: {line}" for line, names in runs.items()]


def _is_known(budgets: dict[str, list[Budget]]) -> bool:
    return any(value is not None for held in budgets.values() for one in held for value in one.values())


def _warning(stored: Sequence[StoredRun]) -> str:
    names = ", ".join(one.name for one in stored if one.split == "dev")
    return f"Scored on dev notes, which chose the best weights or thresholds too: {names}\n" if names else ""


def _same_parts(stored: Sequence[StoredRun]) -> tuple[str, ...]:
    """What all runs were scored on: entity, notes, or both. Raises DataError, naming two runs, if that differs."""
    first = stored[0]
    for one in stored:
        if one.parts != first.parts:
            told = [f"run {each.name} has scores of {' and '.join(each.parts)}" for each in (first, one)]
            raise DataError(f"the tasks differ: {', '.join(told)}", next="compare runs of one task")
    return first.parts


def _arms(settings: Compare, stored: Sequence[StoredRun]) -> list[str]:
    arms = named_arms(stored, settings.arms)
    if settings.against is not None and settings.against not in arms:
        raise ConfigError("no run is of this arm", where="against", next=f"there are {', '.join(dict.fromkeys(arms))}")
    return arms


def _same_labels(stored: Sequence[StoredRun], part: str, how: str) -> list[str]:
    """The labels of all runs together, sorted. Raises DataError, naming two runs, if their sets differ."""
    first = stored[0]
    for one in stored[1:]:
        alone = {a.name: sorted(a.labels(part) - b.labels(part)) for a, b in ((first, one), (one, first))}
        if any(alone.values()) and how == "refuse":
            told = [f"{', '.join(map(repr, names))} only in {name}" for name, names in alone.items() if names]
            raise DataError(
                f"the label sets of runs {first.name} and {one.name} differ: {'; '.join(told)}",
                next="compare runs with the same labels, or --label_sets join to score all over the labels of all",
            )
    return sorted({label for one in stored for label in one.labels(part)})


def _shared_gold(
    stored: Sequence[StoredRun], predicted: Sequence[Sequence[Document]], given: DataSettings
) -> list[Document]:
    """The gold documents of the first run, if those of all others are the same."""
    known: dict[str, list[Document]] = {}
    golds = []
    for one, answers in zip(stored, predicted, strict=True):
        gold = gold_of(one, given, known)
        if one.verb == "crossvalidate":  # a held-out part of the notes may be all that was tested
            tested = {document.id for document in answers}
            gold = [document for document in gold if document.id in tested]
        golds.append(gold)
        same_gold((stored[0], golds[0]), (one, gold))
    return golds[0]


def _counted(
    one: StoredRun, arm: str, part: str, labels: Sequence[str], documents: tuple[Sequence[Document], Sequence[Document]]
) -> "RunCounts":
    """The counts of a run by gold and predicted documents. Raises IntegrityError if its metrics.json has others."""
    import numpy as np

    from clinnlp.evaluation.comparison import RunCounts, count_notes
    from clinnlp.evaluation.entity import count_spans
    from clinnlp.evaluation.pairing import pair

    try:
        pairs = pair(*documents)
    except DataError as error:
        raise DataError(f"run {one.name}: {error.what}", where=error.where, next=error.next) from None
    if part == "notes":
        names, by_label = count_notes(pairs, labels)
    else:
        spans = count_spans(pairs, labels)
        names, by_label = spans.labels, np.asarray(spans.array, np.int64)
    counts = {name: int(count) for name, count in zip(("tp", "fp", "fn"), by_label.sum(axis=(0, 1)), strict=True)}
    if names != tuple(labels) or counts != one.counts(part):
        raise IntegrityError(
            f"the metrics.json of run {one.name} is not of its predictions: they give {counts}, it says "
            f"{one.counts(part)}",
            where=str(one.folder),
            next="score the predictions again",
        )
    correct = np.array([set(gold.labels) == set(answer.labels) for gold, answer in pairs], np.bool_)
    return RunCounts(one.name, arm, one.seed, answers_of(documents[1]), by_label, correct)


def _measures(stored: Sequence[StoredRun], part: str) -> "tuple[Measure, ...]":
    """The headline measure and the other one."""
    from clinnlp.evaluation.comparison import ACCURACY, MACRO_F1, MICRO_F1

    one_label_each = part == "notes" and not any(one.metrics["notes"]["multi_label"] for one in stored)
    return (ACCURACY if one_label_each else MICRO_F1), MACRO_F1
