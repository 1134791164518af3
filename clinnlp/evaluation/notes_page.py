"""The browsable page of notes, gold and predicted spans side by side: the one page that holds note text."""

import base64
import hashlib
import os
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from clinnlp.core.document import Document, Span
from clinnlp.core.report import Report
from clinnlp.errors import StorageError, UsageError
from clinnlp.evaluation.disagreements import KINDS, find_disagreements
from clinnlp.evaluation.drawing import DEEPEST, Mark, levels, lines, named, right_to_left, short
from clinnlp.evaluation.pairing import Pair, pair
from clinnlp.evaluation.rendering import printable

MATCHED, NOTE_LABELS = "matched", "note labels"
SIDES = ("gold", "predicted")


@dataclass(frozen=True, slots=True)
class Error:
    """An error of the page: its number there, its kind, the places of its labels, and the spans of both sides."""

    number: int
    kind: str
    labels: str
    spans: tuple[tuple[Span, ...], tuple[Span, ...]]


def write_notes_page(
    path: Path, gold: Sequence[Document], predicted: Sequence[Document], report: Report, title: str, limit: int = 200
) -> None:
    """Write the page of what a report scores, whole or not at all, for its owner alone (0600 whatever the umask)."""
    page = notes_page(gold, predicted, title, limit, report.entity is not None, report.notes is not None)
    aside = path.with_name(path.name + ".tmp")
    try:
        aside.unlink(missing_ok=True)
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            aside.chmod(0o600)
            file.write(page.encode())
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write: {error.strerror}", where=str(path)) from None


def notes_page(
    gold: Sequence[Document],
    predicted: Sequence[Document],
    title: str,
    limit: int = 200,
    spans: bool = True,
    labels: bool = False,
) -> str:
    """One HTML page that shows the `limit` notes with the most errors, joined by id.

    `spans` and `labels` say what is compared. Only the page's own script can run, and nothing is requested.
    Raises UsageError for a limit under 1, DataError if the two sides hold different documents.
    """
    if limit < 1:
        raise UsageError("the page needs at least one note", where="with_text_notes", next="give a number from 1")
    template, script = _template()
    page: str = template.render(
        title=title,
        script=script,
        hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        spans=spans,
        deepest=DEEPEST,
        sides=SIDES,
        **_contents(pair(gold, predicted), limit, spans, labels),
    )
    return page if page.endswith("\n") else page + "\n"


@cache
def _template() -> tuple[Any, str]:
    """The page's template and its script."""
    from jinja2 import DictLoader, Environment, StrictUndefined

    folder, names = resources.files("clinnlp.evaluation"), ("notes.html.j2", "notes.js")
    page, script = (folder.joinpath(name).read_text(encoding="utf-8") for name in names)
    loader = DictLoader({"page": page})
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["printable"] = printable
    return environment.get_template("page"), script


def _contents(pairs: Sequence[Pair], limit: int, spans: bool, labels: bool) -> dict[str, Any]:
    """The notes with the most errors, and how many there are of what."""
    found: dict[int, list[tuple[str, tuple[Span, ...], tuple[Span, ...]]]] = defaultdict(list)
    for row, both in enumerate(pairs) if labels else ():
        if set(both[0].labels) != set(both[1].labels):
            found[row].append((NOTE_LABELS, (), ()))
    for record in find_disagreements(pairs).records if spans else ():
        found[record.document].append((record.kind, record.gold, record.predicted))
    ranked = sorted(range(len(pairs)), key=lambda row: -len(found[row]))[:limit]
    names = {span.label for row in ranked for side in pairs[row] for span in side.spans} if spans else set()
    names |= {label for row in ranked for side in pairs[row] for label in side.labels} if labels else set()
    places = {name: place for place, name in enumerate(sorted(names))}
    kinds: Counter[str] = Counter()
    notes, number = [], 0
    for row in ranked:
        errors = []
        for kind, gold, predicted in found[row]:
            number += 1
            differ = {span.label for span in (*gold, *predicted)}
            if kind == NOTE_LABELS:
                differ = set(pairs[row][0].labels) ^ set(pairs[row][1].labels)
            where = " ".join(str(places[label]) for label in sorted(differ))
            errors.append(Error(number, kind, where, (gold, predicted)))
        kinds.update(error.kind for error in errors)
        if spans:
            kinds[MATCHED] += len(pairs[row][0].spans) - sum(len(error.spans[0]) for error in errors)
        notes.append({"given": row} | _note(pairs[row], errors, places, spans, labels))
    shown = ([MATCHED, *KINDS] if spans else []) + ([NOTE_LABELS] if labels else [])
    return {
        "notes": notes,
        "labels": [short(name) for name in places],
        "kinds": [(kind, kinds[kind]) for kind in shown],
        "errors": {"shown": number, "all": sum(map(len, found.values()))},
        "documents": len(pairs),
    }


def _note(both: Pair, errors: Sequence[Error], places: Mapping[str, int], spans: bool, labels: bool) -> dict[str, Any]:
    """What the page shows of one note."""
    text = both[0].text
    drawn: list[list[tuple[Span, Mark]]] = []
    anchored: set[int] = set()
    beyond: list[str] = []
    for side in (0, 1) if spans else ():
        marks = _marks(both[side].spans, [(e, e.spans[side]) for e in errors], text, places, anchored)
        drawn.append([(span, mark) for span, mark in marks if mark.level < DEEPEST])
        beyond += [f"{SIDES[side]} {mark.title}" for _, mark in marks if mark.level == DEEPEST]
    columns = [lines(text, side) for side in drawn or [[]]]
    rows = list(zip(*columns, strict=True))
    return {
        "id": both[0].id,
        "spans": [len(side.spans) for side in both],
        "depth": max((1 + mark.level for side in drawn for _, mark in side), default=0),
        "bidi": any(right_to_left(t) for t in (text, *(f"{m.name} {m.about}" for side in drawn for _, m in side))),
        "lines": [(row, any(stretch.drawn for line in row for stretch in line)) for row in rows],
        "errors": [_listed(error, both, error.number in anchored) for error in errors],
        "beyond": beyond,
        "labels": [[short(label) for label in side.labels] for side in both] if labels else None,
    }


def _marks(
    spans: Iterable[Span],
    errors: Iterable[tuple[Error, tuple[Span, ...]]],
    text: str,
    places: Mapping[str, int],
    anchored: set[int],
) -> list[tuple[Span, Mark]]:
    """A mark for each span of a side, in text order; the first that is drawn of an error becomes its anchor.

    A span that cannot be drawn has the level DEEPEST. `anchored` gains the errors that have an anchor.
    """
    wrong: dict[object, deque[Error]] = defaultdict(deque)
    for error, of in errors:
        for span in of:
            wrong[span.key].append(error)
    marks = []
    for span, free in levels(spans):
        level = DEEPEST if free is None else free
        words = named(span, text)
        names = (words["name"], words["about"])
        if not wrong[span.key]:
            marks.append((span, Mark(*names, f"{words['title']}, {MATCHED}", MATCHED, str(places[span.label]), level)))
            continue
        error = wrong[span.key].popleft()
        anchor = level < DEEPEST and error.number not in anchored
        anchored |= {error.number} if anchor else set()
        title = f"{words['title']}, {error.kind}"
        marks.append((span, Mark(*names, title, error.kind, error.labels, level, error.number, anchor)))
    return marks


def _listed(error: Error, both: Pair, linked: bool) -> dict[str, Any]:
    """An error in words, linked to its anchor if it has one."""
    if error.kind == NOTE_LABELS:
        sides = [[{"name": short(label), "place": "", "text": ""} for label in side.labels] for side in both]
    else:
        sides = [[named(span, both[0].text) for span in side] for side in error.spans]
    shown = [(name, side) for name, side in zip(SIDES, sides, strict=True) if side or error.kind == NOTE_LABELS]
    return {"number": error.number, "kind": error.kind, "labels": error.labels, "sides": shown, "linked": linked}
