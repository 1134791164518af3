"""Batch labeling: records in, shards out; a bad document is set aside, never fatal, and every one is counted."""

import json
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from clinnlp.core.document import Document, Quarantined, Span
from clinnlp.errors import DataError, IntegrityError
from clinnlp.labeling.output import EMPTY, LABELED, ShardWriter
from clinnlp.labeling.predict import chunks, predict_chunk
from clinnlp.models.load import Trained

log = logging.getLogger("clinnlp")


@dataclass
class Counts:
    """What became of the input; `input` is always `labeled + quarantined`."""

    input: int = 0
    labeled: int = 0
    empty: int = 0
    quarantined: int = 0
    spans: int = 0
    characters: int = 0
    by_label: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, labels and reasons by frequency."""
        numbers = {name: getattr(self, name) for name in ("input", "labeled", "empty", "quarantined", "spans")}
        return {
            **numbers,
            "characters": self.characters,
            "by_label": dict(self.by_label.most_common()),
            "quarantine_reasons": dict(self.reasons.most_common()),
        }


def label_records(
    trained: Trained,
    records: Iterable[Document | Quarantined],
    folder: Path,
    batch_tokens: int,
    shard_documents: int,
    max_characters: int,
    total: int | None = None,
) -> Counts:
    """Label records shard by shard into Parquet files under `folder`; returns what became of them.

    With `total`, the number of records, the progress bar tells the time that is left. Raises IntegrityError
    if the counts do not add up.
    """
    counts, writer = Counts(), ShardWriter(folder)
    progress, known = _Progress(total), Known()
    seen: set[str] = set()
    with (folder / "quarantine.jsonl").open("w", encoding="utf-8") as quarantine:
        for shard in chunks(records, shard_documents):
            good, bad = _sort_out(shard, counts.input, seen, max_characters)
            counts.input += len(shard)
            new = [document for document in good if document.text not in known]
            read, failed = _label(trained, new, batch_tokens)
            known.learn(read)
            found = _in_order(good, read, failed, known)
            writer.write(found, [LABELED if d.text.strip() else EMPTY for d in found], bad + failed)
            _count(counts, found, bad + failed)
            for record in bad + failed:
                quarantine.write(json.dumps({"where": record.where, "reason": record.reason}) + "\n")
            progress.show(counts)
    progress.end()
    if counts.input != counts.labeled + counts.quarantined:
        raise IntegrityError(f"{counts.input} notes in, {counts.labeled} labeled, {counts.quarantined} set aside")
    if not counts.quarantined:
        (folder / "quarantine.jsonl").unlink()
    return counts


class Known:
    """What the model said of texts it has read, so that notes that were copied forward are read once.

    Keeps the `most` last texts by their hash, never the texts themselves.
    """

    def __init__(self, most: int = 100_000) -> None:
        self.most = most
        self.said: OrderedDict[bytes, tuple[tuple[Span, ...], tuple[str, ...], Any]] = OrderedDict()

    def __contains__(self, text: str) -> bool:
        return _digest(text) in self.said

    def learn(self, documents: Iterable[Document]) -> None:
        """Remember what was said of these documents."""
        for document in documents:
            self.said[_digest(document.text)] = (document.spans, document.labels, document.meta.get("label_scores"))

    def forget(self) -> None:
        """Drop the texts that were learned first, beyond the `most` kept."""
        while len(self.said) > self.most:
            self.said.popitem(last=False)

    def answer(self, document: Document) -> Document:
        """The document with what was said of its text."""
        spans, labels, scores = self.said[_digest(document.text)]
        meta = document.meta if scores is None else {**document.meta, "label_scores": scores}
        return replace(document, spans=spans, labels=labels, meta=meta)


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


def _in_order(good: list[Document], read: list[Document], failed: list[Quarantined], known: Known) -> list[Document]:
    """The labeled documents in the order of the input: just read, or known from before."""
    fresh, lost = {document.id: document for document in read}, {record.id for record in failed}
    found = [fresh.get(d.id) or known.answer(d) for d in good if d.id not in lost]
    known.forget()
    return found


def _sort_out(
    shard: list[Document | Quarantined], before: int, seen: set[str], max_characters: int
) -> tuple[list[Document], list[Quarantined]]:
    """The documents of a shard that can be labeled, and the records that cannot; `before` records came earlier."""
    good: list[Document] = []
    bad: list[Quarantined] = []
    for number, record in enumerate(shard, before + 1):
        where = f"note {number} of the input"
        if isinstance(record, Quarantined):
            bad.append(record)
        elif len(record.text) > max_characters:
            bad.append(Quarantined(where, f"longer than {max_characters} characters", record.id))
        elif record.id in seen:
            bad.append(Quarantined(where, "its id occurred before", record.id))
        else:
            seen.add(record.id)
            good.append(record)
    return good, bad


def _label(trained: Trained, good: list[Document], batch_tokens: int) -> tuple[list[Document], list[Quarantined]]:
    """Label a shard; if the model fails on it, document by document, setting aside those it fails on."""
    try:
        return predict_chunk(trained, good, batch_tokens) if good else [], []
    except (RuntimeError, ValueError, DataError, IntegrityError) as error:
        if len(good) == 1:
            return [], [Quarantined("a note", f"the model failed ({type(error).__name__})", good[0].id)]
    found: list[Document] = []
    failed: list[Quarantined] = []
    for document in good:
        one, aside = _label(trained, [document], batch_tokens)
        found += one
        failed += aside
    return found, failed


def _count(counts: Counts, found: list[Document], aside: list[Quarantined]) -> None:
    counts.labeled += len(found)
    counts.quarantined += len(aside)
    counts.reasons.update(record.reason for record in aside)
    for document in found:
        counts.empty += not document.text.strip()
        counts.spans += len(document.spans)
        counts.characters += len(document.text)
        counts.by_label.update(span.label for span in document.spans)
        counts.by_label.update(document.labels)


class _Progress:
    """A bar of notes done, notes per second and time left on a terminal; a line a minute elsewhere."""

    def __init__(self, total: int | None) -> None:
        from tqdm import tqdm

        self.bar = tqdm(total=total, unit=" notes", desc="labeling", disable=None, smoothing=0.05)
        self.start = self.said = time.perf_counter()

    def show(self, counts: Counts) -> None:
        self.bar.update(counts.input - self.bar.n)
        now = time.perf_counter()
        if self.bar.disable and now - self.said > 60:
            self.said = now
            log.info("%d notes, %.1f notes/s", counts.input, counts.input / (now - self.start))

    def end(self) -> None:
        self.bar.close()
