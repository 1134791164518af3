"""Labels handed over in another format: made of what is committed and of the notes, so as often as wanted."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from clinnlp.core.document import Document, Span
from clinnlp.errors import ChangedError, ConfigError, InUseError
from clinnlp.formats.base import Format, write
from clinnlp.labeling.commits import Commit, Ledger
from clinnlp.labeling.output import QUARANTINED
from clinnlp.labeling.plan import Record, cut, holds, read_plan
from clinnlp.labeling.record import last_record
from clinnlp.labeling.source import Source
from clinnlp.labeling.store import Store


def labeled(store: Store, source: Source) -> Iterator[Document]:
    """The notes of a run with their labels, in order, one shard in memory; those that were set aside are left out.

    Of a run that is not finished, what is committed. Raises ConfigError if there is no run, ChangedError if the notes
    are not those that were labeled.
    """
    record = last_record(store)
    if record is None:
        raise ConfigError("no labels here", where=store.place, next="give the --out folder of `clinnlp label`")
    shards, ledger = list(read_plan(store, record.plan)), Ledger.read(store)
    parts = cut(source.records(), 1, [shard.records for shard in shards])
    for shard in shards:
        part, commit = next(parts, []), ledger.of(shard.number).commit
        if not holds(part, shard.sha256):
            raise ChangedError(
                f"the notes of shard {shard.number} are not those that were labeled", where=store.place,
                kept="all labels", next="give the notes as they were, or label them again with --relabel true",
            )  # fmt: skip
        if commit and commit.input_sha256 == shard.sha256:
            yield from _joined(store, commit, part)


def hand_over(store: Store, source: Source, format: Format, path: str) -> dict[str, int]:
    """Write the labeled notes to a new file, a new folder or a database; returns counts as `Format.write` does.

    Raises InUseError if the file or folder is there.
    """
    if format.open(path) is None:
        target = Path(path)
        if target.exists() and not (target.is_dir() and not any(target.iterdir())):
            raise InUseError("the target is there already", where=path, kept="it and all labels", next="choose another")
        target.parent.mkdir(parents=True, exist_ok=True)
    return write(labeled(store, source), path, format)


def _joined(store: Store, commit: Commit, part: list[Record]) -> Iterator[Document]:
    spans: dict[int, list[Span]] = {}
    for row in _rows(store, commit, "spans"):
        said_by = {"model": row["model"]} if "model" in row else {}
        span = Span(row["start"], row["end"], row["label"], row["score"], said_by)
        spans.setdefault(row["ordinal"], []).append(span)
    for note, row in zip(part, _rows(store, commit, "documents"), strict=True):
        if row["status"] != QUARANTINED and isinstance(note, Document):
            labels = tuple(row["labels"] or ())
            if "label_models" in row:  # two models may know one label
                labels = tuple(f"{name}:{label}" for name, label in zip(row["label_models"], labels, strict=True))
            scores = dict(zip(labels, row["label_scores"] or (), strict=False))
            meta = {**note.meta, "label_scores": scores} if scores else note.meta
            yield replace(note, spans=tuple(spans.get(row["ordinal"], ())), labels=labels, meta=meta)


def _rows(store: Store, commit: Commit, kind: str) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    data = store.get(commit.files[kind].name)
    if data is None:
        raise ConfigError(
            f"{commit.files[kind].name} is missing", where=store.place, next="give the label command again"
        )
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(pyarrow.BufferReader(data)).to_pylist()
    return rows
