"""Labels handed over in another format: made of what is committed and of the notes, so as often as wanted."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from clinnlp.core.document import Document, Span
from clinnlp.core.lock import only_run
from clinnlp.errors import ChangedError, ConfigError, InUseError, StorageError
from clinnlp.formats.base import Format, write
from clinnlp.labeling.commits import Commit, Ledger
from clinnlp.labeling.output import DECIMALS, QUARANTINED
from clinnlp.labeling.plan import Record, cut, holds, read_plan
from clinnlp.labeling.record import last_record
from clinnlp.labeling.source import Source
from clinnlp.labeling.store import LOCK, Store


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


def check_target(format: Format, path: str) -> None:
    """See that labels can be handed over here, before a night of labeling.

    Raises InUseError if the file or folder is there, ConfigError or StorageError for a database that cannot be opened.
    """
    if (place := format.open(path)) is not None:
        place.check()
        return
    target = Path(path)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InUseError("the target is there already", where=path, kept="it and all labels", next="choose another")


def hand_over(store: Store, source: Source, format: Format, path: str) -> dict[str, int]:
    """Write the labeled notes to a new file, a new folder or a database; returns counts as `Format.write` does.

    A file or folder appears when all of it is there. Raises InUseError if it is there already.
    """
    check_target(format, path)
    if format.open(path) is not None:
        return write(labeled(store, source), path, format)
    target = Path(path)
    aside = target.with_name(f".{target.name[:100]}.part")
    try:
        aside.mkdir(parents=True, exist_ok=True)
        with only_run(aside / LOCK, next="wait for it"):
            return _written(labeled(store, source), aside, target, format)
    except OSError as error:
        told = f"cannot write: {error.strerror or type(error).__name__}"
        raise StorageError(told, where=path, kept="all labels", next="choose another --to_path") from None


def _written(documents: Iterable[Document], aside: Path, target: Path, format: Format) -> dict[str, int]:
    """Write documents in a folder aside and put the whole in place; nothing stays, nor what a kill left there."""
    made = aside / "made"
    try:
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        counts = write(documents, made / target.name, format)
        (made / target.name).replace(target)
        return counts
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _joined(store: Store, commit: Commit, part: list[Record]) -> Iterator[Document]:
    spans: dict[int, list[dict[str, Any]]] = {}
    for row in _rows(store, commit, "spans"):
        spans.setdefault(row["ordinal"], []).append(row)
    for note, row in zip(part, _rows(store, commit, "documents"), strict=True):
        if row["status"] != QUARANTINED and isinstance(note, Document):
            labels = tuple(row["labels"] or ())
            if "label_models" in row:  # two models may know one label
                labels = tuple(f"{name}:{label}" for name, label in zip(row["label_models"], labels, strict=True))
            scores = dict(zip(labels, map(_score, row["label_scores"] or ()), strict=False))
            meta = {**note.meta, "label_scores": scores} if scores else note.meta
            yield replace(note, spans=tuple(_spans(note, spans.get(row["ordinal"], []))), labels=labels, meta=meta)


def _spans(note: Document, rows: Iterable[Mapping[str, Any]]) -> Iterator[Span]:
    """The spans of a note, with their attributes; those it came with are in the pieces that no column holds."""
    came: dict[tuple[int, int, str], list[Span]] = {}
    for span in note.spans:
        came.setdefault((span.start, span.end, span.label), []).append(span)
    for row in rows:
        attributes = json.loads(row.get("attributes") or "{}") | ({"model": row["model"]} if "model" in row else {})
        place = (row["start"], row["end"], row["label"])
        is_found = row["window"] is not None  # by a model, not by who wrote the note
        fragments = () if is_found or not came.get(place) else came[place].pop(0).fragments
        yield Span(*place, _score(row["score"]), attributes, fragments)


def _score(stored: float | None) -> float | None:
    """A score as it was stored: 32 bits hold its decimals, not those that 64 bits show behind them."""
    return None if stored is None else round(stored, DECIMALS)


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
