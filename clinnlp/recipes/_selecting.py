"""How candidates are ranked by what was measured of them, how far the measures agree, and the report of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import fmean
from typing import Any

from clinnlp.core.report import Report
from clinnlp.core.run import Run, write_json
from clinnlp.recipes._candidates import Candidate
from clinnlp.recipes._scores import provenance


@dataclass(frozen=True)
class Criterion:
    """One measure: its title, how it is printed, whether more is better, and whether candidates are ranked by it."""

    title: str
    form: str
    more: bool
    ranks: bool = False


CRITERIA = {
    "fertility": Criterion("tokens per word", "{:.2f}", False),
    "entity_fertility": Criterion("tokens per entity word", "{:.2f}", False),
    "unknown_rate": Criterion("unknown tokens", "{:.2%}", False),
    "bits_per_character": Criterion("bits per character", "{:.2f}", False),
    "logme": Criterion("LogME", "{:.4f}", True, ranks=True),
    "h_score": Criterion("H-score", "{:.3f}", True, ranks=True),
    "probe": Criterion("frozen probe", "{:.3f}", True, ranks=True),
    "tokens_per_second": Criterion("tokens per second", "{:,.0f}", True),
    "weights": Criterion("weights", "{:,.0f}", False),
    "peak_mb": Criterion("peak MB", "{:,.0f}", False),
}
"""The measures without training; speed, size and what the tokenizer does are shown and rank nothing."""


@dataclass
class Standing:
    """A candidate with what was measured, the dev scores of its fine-tunings by round, and why it failed, if it did."""

    candidate: Candidate
    measures: Mapping[str, Any]
    first: float | None = None
    """The mean of its ranks by LogME, H-score and probe; None if it failed."""
    rounds: list[float | None] = field(default_factory=list)
    reason: str | None = None

    @property
    def order(self) -> tuple[bool, int, float, float]:
        """Sorts the best first: further rounds before fewer, then the score of the last, then the first ranking."""
        score = self.rounds[-1] if self.rounds else None
        return (
            self.first is None,
            -len(self.rounds),
            -(score if score is not None else -1.0),
            self.first if self.first is not None else 0.0,
        )


def ranked(values: Sequence[float | None], more: bool) -> list[float]:
    """Ranks from 1 for the best, ties at their mean; what has no value shares the places after all others."""
    keys = [(value is None, 0.0 if value is None else (-value if more else value)) for value in values]
    return [fmean([sum(other < key for other in keys) + 1, sum(other <= key for other in keys)]) for key in keys]


def rank_first(standings: Sequence[Standing]) -> None:
    """The first ranking, from measures without training."""
    alive = [one for one in standings if one.reason is None]
    by = [name for name, criterion in CRITERIA.items() if criterion.ranks]
    by = [name for name in by if any(one.measures.get(name) is not None for one in alive)]
    ranks = [ranked([one.measures.get(name) for one in alive], CRITERIA[name].more) for name in by]
    for number, one in enumerate(alive):
        one.first = fmean(column[number] for column in ranks)


def agreement(standings: Sequence[Standing]) -> dict[str, dict[str, Any]]:
    """Kendall's tau-b of each pair of criteria, over the candidates that both measured; at least three, some unequal.

    Each criterion counts from worse to better, so that 1 is the same order. One is the first round of fine-tunings.
    """
    from scipy.stats import kendalltau

    columns: dict[str, list[float | None]] = {}
    for name, criterion in CRITERIA.items():
        values = [one.measures.get(name) for one in standings]
        columns[name] = [None if value is None else (value if criterion.more else -value) for value in values]
    columns["fine-tuning"] = [one.rounds[0] if one.rounds else None for one in standings]
    found: dict[str, dict[str, Any]] = {}
    for one, other in combinations(columns, 2):
        pairs = [(a, b) for a, b in zip(columns[one], columns[other], strict=True) if a is not None and b is not None]
        if len(pairs) < 3:
            continue
        tau = float(kendalltau(*zip(*pairs, strict=True)).statistic)
        if tau == tau:
            found[f"{one}, {other}"] = {"tau": tau, "candidates": len(pairs)}
    return found


def write_selection(run: Run, standings: Sequence[Standing], facts: Mapping[str, Any], notices: Sequence[str]) -> None:
    """Write metrics.json, report.txt and report.html; the standings come in their final order."""
    from clinnlp.evaluation.page import Surroundings, html_report
    from clinnlp.evaluation.panels import Panel, Table
    from clinnlp.evaluation.rendering import printable

    taus = agreement(standings)
    values = {
        "format_version": 1,
        "notices": list(notices),
        "candidates": [_described(place, one) for place, one in enumerate(standings, 1)],
        "agreement": taus,
    }
    write_json(run.folder / "metrics.json", values)
    tables = [_ranking(standings), _measures(standings)]
    agreed = [(pair, f"{told['tau']:+.2f}", str(told["candidates"])) for pair, told in taus.items()]
    panels: list[Panel] = [
        Panel("Ranking", (ORDER, *notices), (Table(*_cells(tables[0])),)),
        Panel("What was measured", (), (Table(*_cells(tables[1])),)),
    ]
    text = [_text(table) for table in tables]
    if agreed:
        table: Rows = [("criteria", "Kendall's tau", "candidates"), *agreed]
        panels.append(Panel("Rank agreement", (AGREE,), (Table(*_cells(table)),)))
        text.append(_text(table))
    known, settings = provenance(run)
    around = Surroundings({**{name: str(value) for name, value in facts.items()}, **known}, settings)
    page = html_report(Report(), "clinnlp select", around, panels)
    told = "".join(f"{printable(line)}.\n" for line in (ORDER, *notices))
    (run.folder / "report.txt").write_text("\n".join([*text, told]), encoding="utf-8")
    (run.folder / "report.html").write_text(page, encoding="utf-8")


ORDER = (
    "Ranked by the dev score of the last fine-tuning that a candidate took part in, those of later rounds first; the "
    "others by the mean of their ranks in LogME, H-score and probe"
)
AGREE = "1: two criteria order the candidates alike, -1: the other way round, each from worse to better"


def _described(place: int, one: Standing) -> dict[str, Any]:
    told = {"rank": place, "candidate": one.candidate.name, "revision": one.candidate.revision, "reason": one.reason}
    return {**told, "mean_rank": one.first, "fine_tuned": one.rounds, **one.measures}


Rows = list[tuple[str, ...]]


def _ranking(standings: Sequence[Standing]) -> Rows:
    rounds = max((len(one.rounds) for one in standings), default=0)
    rows: Rows = [("candidate", "rank", "mean rank", *(f"dev, round {n + 1}" for n in range(rounds)), "failed")]
    for place, one in enumerate(standings, 1):
        scores = ["-" if score is None else f"{score:.4f}" for score in one.rounds]
        first = "-" if one.first is None else f"{one.first:.2f}"
        scores += ["-"] * (rounds - len(scores))
        rows.append((one.candidate.name, str(place), first, *scores, one.reason or ""))
    return rows


def _measures(standings: Sequence[Standing]) -> Rows:
    rows: Rows = [("candidate", *(criterion.title for criterion in CRITERIA.values()))]
    for one in standings:
        held = [(criterion, one.measures.get(name)) for name, criterion in CRITERIA.items()]
        shown = ("-" if value is None else criterion.form.format(value) for criterion, value in held)
        rows.append((one.candidate.name, *shown))
    return rows


def _cells(table: Rows) -> tuple[tuple[str, ...], Any]:
    return table[0], tuple(table[1:])


def _text(table: Rows) -> str:
    """The rows under each other, columns to the right but for the first and a last one that is text."""
    from clinnlp.evaluation.rendering import printable

    shown = [[printable(cell) for cell in row] for row in table]
    widths = [max(len(row[n]) for row in shown) for n in range(len(shown[0]))]
    lines = []
    for first, *others in shown:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join([lines[0], "", *lines[1:]]) + "\n"
