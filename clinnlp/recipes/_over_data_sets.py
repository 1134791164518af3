"""Comparisons of the same arms on several data sets, taken together: Wilcoxon's test over the data sets."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from clinnlp.core.report import Report
from clinnlp.core.run import MANIFEST, Run, sha256_files, write_json
from clinnlp.errors import DataError
from clinnlp.recipes._history import read_object
from clinnlp.recipes._scores import provenance

log = logging.getLogger("clinnlp")

PARTS = ("entity", "notes")


@dataclass(frozen=True)
class DataSet:
    """One finished comparison: its name, the measure, the mean score of each arm, and what it says is waived."""

    name: str
    measure: str
    arms: dict[str, float]
    waived: list[str]


def are_comparisons(folders: Sequence[Path]) -> bool:
    """Whether all folders hold runs of compare."""
    return all(read_object(folder / MANIFEST).get("verb") == "compare" for folder in folders)


def compare_over_data_sets(run: Run, folders: Sequence[Path]) -> int:
    """Compare every two arms that all comparisons have; returns the exit status.

    Raises DataError for fewer than six data sets, a data set that comes twice, or arms or measures that differ.
    """
    from clinnlp.evaluation.over_data_sets import over_panel, over_text
    from clinnlp.evaluation.page import Surroundings, html_report
    from clinnlp.evaluation.rendering import above
    from clinnlp.evaluation.significance import holm, wilcoxon

    sets = _read(folders)
    run.manifest.data = {folder.resolve().name: sha256_files([folder / "metrics.json"]) for folder in folders}
    scores = {arm: [one.arms[arm] for one in sets] for arm in sets[0].arms}
    pairs = list(combinations(scores, 2))
    outcomes = [wilcoxon(scores[first], scores[second]) for first, second in pairs]
    adjusted = holm([outcome.p for outcome in outcomes])
    rows = [(*pair, outcome, p) for pair, outcome, p in zip(pairs, outcomes, adjusted, strict=True)]
    values: dict[str, Any] = {
        "format_version": 1,
        "measure": sets[0].measure,
        "data_sets": {one.name: one.arms for one in sets},
        "arms": {arm: fmean(held) for arm, held in scores.items()},
        "pairs": [
            {"first": first, "second": second, "median_difference": found.difference, "p": found.p, "p_holm": p,
             "test": found.test, "data_sets": found.units, "unequal": found.unequal}
            for first, second, found, p in rows
        ],
    }  # fmt: skip
    waived = [f"{one.name}: {line}" for one in sets for line in one.waived]
    if waived:
        values["waived"] = waived
    by_set = {one.name: one.arms for one in sets}
    known, settings = provenance(run)
    panels = [over_panel(by_set, sets[0].measure, rows)]
    page = html_report(Report(), "clinnlp compare: over data sets", Surroundings(known, settings, waived), panels)
    text = above(waived) + over_text(by_set, sets[0].measure, rows)
    write_json(run.folder / "metrics.json", values)
    (run.folder / "report.txt").write_text(text, encoding="utf-8")
    (run.folder / "report.html").write_text(page, encoding="utf-8")
    run.finish({"data sets": len(sets), "arms": len(scores)})
    log.info("%s", (run.folder / "report.txt").read_text(encoding="utf-8"))
    log.info("report: %s", run.folder / "report.html")
    return 0


def _read(folders: Sequence[Path]) -> list[DataSet]:
    sets, seen = [], dict[str, str]()
    for folder in folders:
        manifest, metrics = read_object(folder / MANIFEST), read_object(folder / "metrics.json")
        part = next((part for part in PARTS if part in metrics), None)
        if manifest.get("status") != "done" or part is None:
            raise DataError("this comparison is not finished", where=str(folder), next="repeat it")
        measure = next(iter(metrics[part]))  # the headline
        arms = {name: arm["mean"] for name, arm in metrics[part][measure]["arms"].items()}
        if None in arms.values():
            raise DataError("an arm of this comparison has no score", where=str(folder), next="leave it out")
        sets.append(DataSet(folder.resolve().name, f"{part} {measure}", arms, metrics.get("waived", [])))
        hashes = {name: sha for name, sha in manifest["data_sha256"].items() if not name.endswith(": predictions")}
        tested = {sha for name, sha in hashes.items() if name.endswith(": test")}
        gold = ", ".join(sorted(tested or set(hashes.values())))
        if gold and seen.setdefault(gold, str(folder)) != str(folder):
            raise DataError(
                f"the same test notes as {seen[gold]}: seeds or settings of one data set are no data sets of their own",
                where=str(folder),
                next="give one comparison for each data set, with all its seeds",
            )
    for one in sets:
        if (one.measure, set(one.arms)) != (sets[0].measure, set(sets[0].arms)):
            raise DataError(
                f"comparisons {sets[0].name} and {one.name} have other arms or another measure",
                next="name the arms alike in all of them: compare ... --arms a,b",
            )
    if len({one.name for one in sets}) < len(sets):
        raise DataError("two folders have the same name", next="give each data set a folder name of its own")
    return sets
