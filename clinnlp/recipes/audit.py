"""`clinnlp audit`: what is wrong with notes before anything is trained on them."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any

from clinnlp.core.document import Document, Quarantined
from clinnlp.core.report import Report
from clinnlp.core.run import Run, write_json
from clinnlp.errors import QUARANTINED, ConfigError
from clinnlp.formats.base import Format, read_records
from clinnlp.formats.jsonl import Jsonl
from clinnlp.recipes._audit import audit_panels, audit_report
from clinnlp.recipes._data import DataSettings, asked_splits, data_sha256, none_left, write_quarantine
from clinnlp.recipes._label_map import labels_in, unheld, with_names
from clinnlp.recipes._output import start_run
from clinnlp.recipes._scores import provenance
from clinnlp.text.profile import conflicts, distribution, profile
from clinnlp.text.splits import group_key

log = logging.getLogger("clinnlp")

NOISE_SPANS = 50_000  # spans that label noise is looked for in at most
Parts = dict[str, list[Document]]


@dataclass(frozen=True)
class Audit:
    """Look for leaks, duplicates, label errors and identified text in notes before training on them."""

    out: Path
    """New folder for the report."""
    data: DataSettings = field(default_factory=DataSettings)
    """The notes: any of data.train, data.dev and data.test. Records that cannot be read are always set aside."""
    pretraining: str | None = None
    """Notes of a pretraining corpus, searched for the notes of dev and test."""
    pretraining_format: Format = field(default_factory=Jsonl)
    """How that corpus is stored."""
    base: str | None = None
    """Base model whose tokenizer shows what fits into a window: a folder, clinnlp-mini, or a hub name."""
    revision: str | None = None
    """Commit of a hub base, 40 hex digits."""
    download: bool = False
    """Allow the base to be downloaded from the hub; clinnlp is offline otherwise."""
    window: int = 512
    """Longest row of that model in tokens, specials included."""
    note_time: str | None = None
    """Entry of a note's meta with the time it was written; with prediction_time, later notes are counted."""
    prediction_time: str | None = None
    """Entry of a note's meta with the time that a prediction is made at."""
    noise_notes: int = 20_000
    """Notes that label noise and giveaway words are looked for in at most (and 50,000 spans), drawn by group; 0 skips
    both."""
    seed: int = 13
    """Seed of the folds and of that draw."""

    def __post_init__(self) -> None:
        if not (self.data.train or self.data.dev or self.data.test):
            raise ConfigError(
                "notes are required", where="data", next="give --data.train, --data.dev or --data.test PATH"
            )
        if (self.note_time is None) != (self.prediction_time is None):
            raise ConfigError("one time says nothing", where="note_time", next="give note_time and prediction_time")
        if (self.data.dev_share or self.data.test_share) and not self.data.train:
            raise ConfigError("shares are of data.train", where="data", next="give --data.train PATH")


def run(settings: Audit) -> int:
    """Do the audit; returns the exit status: 3 if records were set aside, whatever else was found."""
    # 1. notes
    run = start_run("audit", settings, settings.out, settings.seed)
    run.clear()
    parts, places, quarantined = _read(settings, run)
    write_quarantine(run.folder, quarantined)
    log.info("notes: %s", ", ".join(f"{len(documents)} {name}" for name, documents in parts.items()))

    # 2. texts and patients that stand twice
    found: dict[str, Any] = {"quarantined": len(quarantined), "splits": {n: profile(d) for n, d in parts.items()}}
    found |= _repetition(parts)
    found["times"] = _times(settings, parts)
    found["wording"] = _wording(parts)
    found["pretraining"] = _pretraining(settings, parts, run)

    # 3. what the texts and labels are like
    found["identified"] = _identified(parts)
    found["windows"] = _windows(settings, parts)
    found |= _labels(settings, parts, places, run.folder)

    # 4. report
    from clinnlp.evaluation.page import Surroundings, html_report

    write_json(run.folder / "metrics.json", {"format_version": 1, "audit": found})
    text = audit_report(found)
    (run.folder / "report.txt").write_text(text, encoding="utf-8")
    known, plain = provenance(run)
    page = html_report(Report(), "clinnlp audit", Surroundings(known, plain), audit_panels(found))
    (run.folder / "report.html").write_text(page, encoding="utf-8")
    run.finish({"notes": {name: len(documents) for name, documents in parts.items()}})
    print(text)
    log.info("report: %s", run.folder / "report.html")
    return QUARANTINED if quarantined else 0


def _read(settings: Audit, run: Run) -> tuple[Parts, dict[int, tuple[str, int]], list[Quarantined]]:
    """The splits, where each document stands (its file and the number of its record there), and bad records."""
    data = settings.data
    parts: Parts = {}
    places: dict[int, tuple[str, int]] = {}
    quarantined: list[Quarantined] = []
    held: set[str] = set()
    for name, path in (("train", data.train), ("dev", data.dev), ("test", data.test)):
        if path is None:
            continue
        parts[name], before = [], len(quarantined)
        run.manifest.data[name] = data_sha256(path, data.format)
        for number, record in enumerate(read_records(path, data.format), start=1):
            if isinstance(record, Quarantined):
                quarantined.append(record)
            else:
                held |= labels_in(record) if data.label_map else set()
                record = with_names(record, data.label_map)
                places[id(record)] = name, number
                parts[name].append(record)
        if not parts[name]:
            raise none_left(path, quarantined[before:])
    if error := unheld(data.label_map, held):
        raise error
    parts |= asked_splits(parts, data)
    return {name: parts[name] for name in ("train", "dev", "test") if name in parts}, places, quarantined


def _repetition(parts: Parts) -> dict[str, Any]:
    """Exact and near-duplicates, what the guard of finetune says, and equal texts with other annotations."""
    from clinnlp.text.duplicates import index_texts, near_counts, near_sets
    from clinnlp.text.leaks import find_leaks

    verbatim = index_texts(parts, str)
    documents = [document for held in parts.values() for document in held]
    places = [place for held in verbatim.places.values() for place in held.tolist()]
    found: dict[str, Any] = {
        "leaks": [asdict(leak) for leak in find_leaks(parts)],
        "conflicts": {what: conflicts(documents, places, what) for what in ("labels", "spans")},
        "duplicates": {"verbatim": verbatim.as_dict()},
    }
    index = index_texts(parts)
    found["duplicates"] |= {"normalised": index.as_dict(), "near": near_counts(index, near_sets(index.texts))}
    return found


def _times(settings: Audit, parts: Parts) -> dict[str, Any] | None:
    """Notes of each split that were written after the time of prediction."""
    from clinnlp.text.times import late_notes

    if settings.note_time is None or settings.prediction_time is None:
        return None
    return {
        name: asdict(late_notes(held, settings.note_time, settings.prediction_time)) for name, held in parts.items()
    }


def _wording(parts: Parts) -> dict[str, Any]:
    """Notes of dev and test that share few words with train."""
    from clinnlp.text.wording import foreign_notes

    held = {name: documents for name, documents in parts.items() if name != "train"} if "train" in parts else {}
    return {name: {"notes": len(some), "foreign": foreign_notes(parts["train"], some)} for name, some in held.items()}


def _pretraining(settings: Audit, parts: Parts, run: Run) -> dict[str, Any] | None:
    """How much of dev and test, or of train where there is neither, the pretraining corpus holds."""
    from clinnlp.text.overlap import overlaps

    if settings.pretraining is None:
        return None
    path, format = settings.pretraining, settings.pretraining_format
    run.manifest.data["pretraining"] = data_sha256(path, format)
    counts = {"notes": 0, "unreadable": 0}

    def corpus() -> Iterator[Document]:
        for record in read_records(path, format):
            counts["notes" if isinstance(record, Document) else "unreadable"] += 1
            if isinstance(record, Document):
                yield record

    scored = {name: documents for name, documents in parts.items() if name != "train"} or parts
    made = overlaps(scored, corpus())
    return {**counts, "splits": {name: overlap.as_dict() for name, overlap in made.items()}}


def _identified(parts: Parts) -> dict[str, Any]:
    from clinnlp.text.identified import find_identified

    return {name: find_identified(documents).as_dict() for name, documents in parts.items()}


def _windows(settings: Audit, parts: Parts) -> dict[str, Any] | None:
    """Tokens of each split against one window of the base model."""
    if settings.base is None:
        return None
    from clinnlp.encode.coverage import coverage
    from clinnlp.models.load import Base

    tokenizer = Base(settings.base, settings.revision, settings.download).tokenizer()
    made = {}
    for name, documents in parts.items():
        lengths, counts = coverage(documents, tokenizer, settings.window)
        made[name] = {**counts, "tokens per note": distribution(lengths)}
    return made


def _labels(settings: Audit, parts: Parts, places: dict[int, tuple[str, int]], folder: Path) -> dict[str, Any]:
    """Words that give labels away and labels that look wrong; the places of the latter go into a private file."""
    from clinnlp.text.giveaways import find_giveaways
    from clinnlp.text.noise import note_noise, span_noise

    documents = _drawn([document for held in parts.values() for document in held], settings)
    noise = {}
    lines = []
    for what, judge in (("spans", span_noise), ("labels", note_noise)):
        if any(getattr(document, what) for document in documents):
            judged = judge(documents, settings.seed)
            noise[what] = judged.as_dict()
            for one in judged.suspects:
                split, record = places[id(documents[one.document])]
                lines.append(json.dumps({"file": split, **asdict(one), "document": record}, ensure_ascii=False) + "\n")
    if lines:
        _write_private(folder / "suspects.jsonl", lines)
    giveaways = [asdict(giveaway) for giveaway in find_giveaways(documents)]
    return {"noise": {"notes read": len(documents), **noise}, "giveaways": giveaways}


def _drawn(documents: Sequence[Document], settings: Audit) -> list[Document]:
    """At most noise_notes documents and NOISE_SPANS spans, group after group in an order that only the seed decides."""
    keys = [sha256(f"{settings.seed} {group_key(document)}".encode()).digest() for document in documents]
    order = sorted(range(len(documents)), key=lambda number: keys[number])
    spans = accumulate(len(documents[number].spans) for number in order)
    within = takewhile(lambda pair: pair[1] <= NOISE_SPANS, zip(order[: settings.noise_notes], spans, strict=False))
    chosen = {number for number, _ in within}
    return [document for number, document in enumerate(documents) if number in chosen]


def _write_private(path: Path, lines: Sequence[str]) -> None:
    """Write a file that only its owner can read, whatever the umask."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.writelines(lines)
