"""The notes that are chosen to be annotated next, and the report of how they were chosen."""

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from clinnlp.core.document import Document
from clinnlp.core.report import Report
from clinnlp.core.run import Run, write_json
from clinnlp.recipes._scores import provenance
from clinnlp.text.duplicates import near_sets, normalised

Reason = Literal["diverse", "uncertain"]

COST = (
    "Notes that a model is unsure of take longer to annotate than others: the time can erase what fewer notes save. "
    "Measure minutes, not notes, before you rely on them"
)
ANCHORED = (
    "The worklist holds what the model said: annotators leave more of it standing than they would write themselves. Do "
    "not take such notes as test notes"
)
BIASED = "Suggested notes are no random sample: scores and shares of labels on them are not those of all notes"


@dataclass(frozen=True)
class Choice:
    """One suggested note: its place among the notes, its rank from 1, why, and by how much.

    The score is what it adds to the coverage (diverse), or how unsure the model is of it (uncertain).
    """

    place: int
    rank: int
    reason: Reason
    score: float


@dataclass
class Pool:
    """Notes that may be suggested, and notes that are labeled; `open` (N,) says which of the former may still be.

    `sets` (N,) are near-duplicates of each other, `closed` counts why notes may not be suggested from the beginning.
    """

    notes: list[Document]
    labeled: list[Document]
    sets: npt.NDArray[np.int64]
    open: npt.NDArray[np.bool_]
    closed: dict[str, int]
    per_group: int | None = None

    @classmethod
    def of(
        cls, notes: list[Document], labeled: list[Document], held_out: list[Document], similarity: float,
        per_group: int | None = None,
    ) -> "Pool":  # fmt: skip
        """Close empty notes, near-duplicates of labeled or held-out notes, and notes of held-out patients."""
        texts = [note.text for note in (*notes, *labeled, *held_out)]
        sets = _sets(texts, similarity)
        count = len(notes)
        filled = np.array([bool(note.text.strip()) for note in notes], np.bool_)
        known = np.isin(sets[:count], sets[count:]) & filled
        patients = {note.group for note in held_out} - {None}
        theirs = np.array([note.group in patients for note in notes], np.bool_) & filled & ~known
        closed = {
            "empty": int((~filled).sum()),
            "near-duplicates of labeled or held-out notes": int(known.sum()),
            "of held-out patients": int(theirs.sum()),
        }
        return cls(notes, labeled, sets[:count], filled & ~known & ~theirs, closed, per_group)

    @property
    def all(self) -> list[Document]:
        """The notes, and behind them the labeled ones."""
        return [*self.notes, *self.labeled]

    @property
    def places(self) -> list[int]:
        """The notes that may still be suggested."""
        found: list[int] = np.flatnonzero(self.open).tolist()
        return found

    def drawn(self, count: int, seed: int) -> list[int]:
        """At most so many notes that may be suggested, one of each set of near-duplicates, in order."""
        places = np.array(self.places, np.int64)
        firsts = places[np.sort(np.unique(self.sets[places], return_index=True)[1])]
        some: list[int] = np.sort(np.random.default_rng(seed).permutation(firsts)[:count]).tolist()
        return some

    def take(self, place: int, taken: Counter[str]) -> None:
        """Close a note, its near-duplicates and, at the limit, all notes of its group; `taken` counts by group."""
        self.open[self.sets == self.sets[place]] = False
        self.open[place] = False
        group = self.notes[place].group
        if group is None or self.per_group is None:
            return
        taken[group] += 1
        if taken[group] >= self.per_group:
            self.open[[other for other in self.places if self.notes[other].group == group]] = False


def _sets(texts: Sequence[str], similarity: float) -> npt.NDArray[np.int64]:
    """The sets of near-duplicates (T,); equal texts are in one, even those without words, which are near nothing."""
    sets = near_sets(texts, similarity)
    first: dict[str, int] = {}
    return sets[[first.setdefault(normalised(text), place) for place, text in enumerate(texts)]]


@dataclass(frozen=True)
class Chosen:
    """The choices in their order, and the coverage before and after them, and by as many notes drawn at random."""

    choices: list[Choice]
    before: float = math.nan
    after: float = math.nan
    chance: float = math.nan
    offered: int = 0
    ground: int = 0

    def told(self, pool: Pool) -> str:
        """Why notes may not be suggested, in words."""
        return ", ".join(f"{name}: {count:,}" for name, count in pool.closed.items())


def choose(pool: Pool, count: int, share: float, unsure: Mapping[int, float], vectors: Any, seed: int) -> Chosen:
    """At most `count` notes of the pool, `share` of them by `unsure` (place: value), the others for their coverage.

    Both kinds take turns, so that any beginning of the list has about that share; where no note is left that the model
    read, coverage chooses. `vectors` (notes and labeled ones) are TF-IDF of words where they are None.
    """
    from clinnlp.text.diversity import Coverage, word_vectors

    offered = pool.places
    if not offered:
        return Chosen([])
    filled = [place for place, note in enumerate(pool.notes) if note.text.strip()]
    coverage = Coverage(word_vectors(pool.all) if vectors is None else vectors, filled, seed)
    labeled = range(len(pool.notes), len(pool.all))
    coverage.take(labeled)
    before = coverage.value
    coverage.offer(offered)
    queue = iter(sorted(unsure, key=lambda place: (-unsure[place], place)))
    choices: list[Choice] = []
    taken: Counter[str] = Counter()
    for rank in range(1, count + 1):
        reason: Reason = "uncertain"
        place = None
        if math.floor(rank * share + 1e-9) > math.floor((rank - 1) * share + 1e-9):
            place = next((one for one in queue if pool.open[one]), None)
        if place is None:
            place, reason = coverage.best(pool.open), "diverse"
        if place is None:
            break
        score = unsure[place] if reason == "uncertain" else coverage.gain(place)
        choices.append(Choice(place, rank, reason, score))
        coverage.take([place])
        pool.take(place, taken)
    chance = coverage.by_chance(offered, len(choices), labeled, seed)
    return Chosen(choices, before, coverage.value, chance, len(offered), len(coverage.ground))


def write_worklist(
    run: Run, pool: Pool, chosen: Chosen, asked: tuple[float, int, bool], written: Mapping[str, int]
) -> dict[str, Any]:
    """Write order.csv, metrics.json, report.txt and report.html; returns the facts of the run.

    `asked` is the share that the model chooses, how many notes it read and whether it annotated them beforehand.
    """
    from clinnlp.evaluation.page import Surroundings, html_report
    from clinnlp.evaluation.panels import Panel, Table
    from clinnlp.evaluation.rendering import printable

    share, read, preannotated = asked
    with (run.folder / "order.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("rank", "id", "reason", "score"))
        rows.writerows((one.rank, pool.notes[one.place].id, one.reason, f"{one.score:.6f}") for one in chosen.choices)
    values = _values(pool, chosen, share, read)
    reasons = values["suggested"]["by_reason"]
    wanted = int(run.manifest.settings["count"])
    notices = [BIASED, *([COST] if reasons["uncertain"] else []), *([ANCHORED] if preannotated else [])]
    if len(chosen.choices) < wanted:
        notices.insert(0, f"Only {len(chosen.choices):,} of {wanted:,} notes could be suggested: no more are left")
    counts = [(name, f"{count:,}") for name, count in _counts(values).items()]
    covered = [(name, f"{value:.3f}") for name, value in values["coverage"].items() if isinstance(value, float)]
    lost = [(name.replace("_", " "), f"{count:,}") for name, count in written.items()]
    tables = {"Notes": ("notes", counts), "Coverage": ("coverage", covered), "Written": ("in the worklist", lost)}
    write_json(run.folder / "metrics.json", {"format_version": 1, "notices": notices, **values, "written": {**written}})
    told = [HOW.format(share=share, ground=values["coverage"]["ground"]), *notices]
    text = "\n".join(_text(head, rows) for head, rows in tables.values())
    text += "\n" + "".join(f"{printable(line)}.\n" for line in told)
    panels = [Panel(title, (), (Table((head, ""), tuple(rows)),)) for title, (head, rows) in tables.items() if rows]
    known, settings = provenance(run)
    page = html_report(Report(), "clinnlp suggest", Surroundings(known, settings, notices=told), panels)
    (run.folder / "report.txt").write_text(text, encoding="utf-8")
    (run.folder / "report.html").write_text(page, encoding="utf-8")
    return {"suggested": len(chosen.choices), **reasons, "coverage": chosen.after}


HOW = (
    "Diverse notes are chosen one by one for what they add to the coverage: the mean similarity of {ground:,} notes to "
    "the nearest note that is labeled or suggested, 0 to 1 (greedy facility location). A share of {share:g} is chosen "
    "for the model's uncertainty"
)


def _values(pool: Pool, chosen: Chosen, share: float, read: int) -> dict[str, Any]:
    groups = Counter(pool.notes[one.place].group for one in chosen.choices)
    named = {group: count for group, count in groups.items() if group is not None}
    reasons = Counter(one.reason for one in chosen.choices)
    return {
        "notes": {"given": len(pool.notes), "labeled": len(pool.labeled), "offered": chosen.offered,
                  "read_by_the_model": read, "closed": pool.closed},
        "suggested": {"notes": len(chosen.choices), "groups": len(named), "without_group": groups.get(None, 0),
                      "most_of_a_group": max(named.values(), default=0),
                      "by_reason": {"diverse": reasons["diverse"], "uncertain": reasons["uncertain"]}},
        "coverage": {"by labeled notes": chosen.before, "with suggested notes": chosen.after,
                     "with as many drawn at random (mean of 20)": chosen.chance, "ground": chosen.ground},
        "choices": [{name: value for name, value in asdict(one).items() if name != "place"} for one in chosen.choices],
    }  # fmt: skip


def _counts(values: Mapping[str, Any]) -> dict[str, int]:
    notes, suggested = values["notes"], values["suggested"]
    return {
        "given": notes["given"], "labeled already": notes["labeled"], **notes["closed"],
        "that may be suggested": notes["offered"], "read by the model": notes["read_by_the_model"],
        "suggested": suggested["notes"], "as diverse": suggested["by_reason"]["diverse"],
        "as uncertain": suggested["by_reason"]["uncertain"], "groups (patients) of these": suggested["groups"],
        "of these without a group": suggested["without_group"],
        "most suggested of one group": suggested["most_of_a_group"],
    }  # fmt: skip


def _text(head: str, rows: Sequence[tuple[str, str]]) -> str:
    from clinnlp.evaluation.comparison_report import text_table

    return text_table((head, ""), rows, 1)
