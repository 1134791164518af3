"""Labels on disk: the Parquet tables of a shard, and the reader that trusts only committed ones."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clinnlp.core.document import Document, Span
from clinnlp.encode.characters import places_in
from clinnlp.errors import ConfigError, IntegrityError
from clinnlp.evaluation.attributes import OURS
from clinnlp.labeling.commits import Ledger
from clinnlp.labeling.plan import read_plan
from clinnlp.labeling.record import last_record
from clinnlp.labeling.store import Store, open_store

if TYPE_CHECKING:
    import pandas

LABELED, EMPTY, UNTOKENIZABLE = "labeled", "empty", "untokenizable"
QUARANTINED, EXCLUDED = "quarantined", "excluded"
COLUMNS_OF = {"utf16": ("start_utf16", "end_utf16"), "bytes": ("start_byte", "end_byte")}
TOGETHER = "clinnlp: together"  # in the meta of a document that several models labeled: model and score of each label
DECIMALS = 5  # of a score: padding changes logits by some 4e-7, which no two runs need to share


@dataclass(frozen=True, slots=True)
class Aside:
    """A record that was set aside: why, where it stood, and, for those who may see them, its id and text."""

    code: str
    reason: str
    where: str
    id: str | None = None
    text: str | None = None


class Labels(NamedTuple):
    """The labels of a run: `spans` with one row per entity, `documents` with one row per note."""

    spans: "pandas.DataFrame"
    documents: "pandas.DataFrame"


def read_labels(folder: str | Path) -> Labels:
    """The labels under an output folder of `clinnlp label`, in note order, as two pandas tables.

    Of a run that is not finished, what is committed. Raises ConfigError if the folder holds no labels.
    """
    import pyarrow
    import pyarrow.parquet

    store = open_store(folder)
    record = last_record(store)
    if record is None:
        raise ConfigError("no labels here", where=store.place, next="give the --out folder of `clinnlp label`")
    ledger = Ledger.read(store)
    commits = [
        commit
        for shard in read_plan(store, record.plan)
        if (commit := ledger.of(shard.number).commit) and commit.input_sha256 == shard.sha256
    ]
    tables = []
    for kind, schema in (("spans", _span_schema()), ("documents", _document_schema())):
        files = [_content(store, commit.files[kind].name) for commit in commits]
        parts = [pyarrow.parquet.read_table(file) for file in files] or [schema.empty_table()]
        tables.append(pyarrow.concat_tables(parts).to_pandas())
    return Labels(*tables)


def tables(
    first: int,
    outcomes: Sequence[Document | Aside],
    statuses: Sequence[str],
    offsets: Sequence[str] = (),
    together: bool = False,
    attributes: bool = False,
) -> dict[str, bytes]:
    """The two tables of a shard whose records are numbered from `first`, as Parquet; equal bytes for equal labels.

    `offsets` are units that spans have columns for, beside code points; `together` tells which model said what,
    `attributes` what spans carry, as a JSON object.
    """
    documents = [(ordinal, outcome) for ordinal, outcome in enumerate(outcomes, first) if isinstance(outcome, Document)]
    spans = [(ordinal, document.id, span) for ordinal, document in documents for span in document.spans]
    columns: dict[str, list[Any]] = {
        "document_id": [id for _, id, _ in spans],
        "start": [span.start for *_, span in spans],
        "end": [span.end for *_, span in spans],
        "label": [span.label for *_, span in spans],
        "score": [None if span.score is None else round(span.score, DECIMALS) for *_, span in spans],
        "ordinal": [ordinal for ordinal, *_ in spans],
        "window": [span.attributes.get("window") for *_, span in spans],
    }
    for unit in offsets:
        found = [place for _, document in documents for place in _places(document, unit)]
        columns |= {name: [pair[side] for pair in found] for side, name in enumerate(COLUMNS_OF[unit])}
    notes: dict[str, list[Any]] = {
        "document_id": [outcome.id for outcome in outcomes],
        "characters": [_length(outcome) for outcome in outcomes],
        "characters_read": [_length(outcome) or 0 for outcome in outcomes],
        "spans": [len(outcome.spans) if isinstance(outcome, Document) else 0 for outcome in outcomes],
        "labels": [list(outcome.labels) if isinstance(outcome, Document) else None for outcome in outcomes],
        "label_scores": [_label_scores(outcome) for outcome in outcomes],
        "status": list(statuses),
        "ordinal": list(range(first, first + len(outcomes))),
    }
    if together:
        columns["model"] = [span.attributes.get("model") for *_, span in spans]
        notes["label_models"] = [
            [name for name, _ in outcome.meta[TOGETHER]] if isinstance(outcome, Document) else None
            for outcome in outcomes
        ]
    if attributes:
        columns["attributes"] = [_attributes(span) for *_, span in spans]
    return {
        "spans": _parquet(_span_schema(offsets, together, attributes), columns),
        "documents": _parquet(_document_schema(together), notes),
    }


def quarantine_lines(asides: Mapping[int, Aside], refs: Mapping[int, str], with_text: bool) -> bytes:
    """The records of a shard that were set aside, by their number in the input, one JSON object a line."""
    lines = []
    for ordinal, aside in asides.items():
        told = {"code": aside.code, "reason": aside.reason, "where": aside.where, "ordinal": ordinal}
        if ordinal in refs:
            told["doc_ref"] = refs[ordinal]
        if with_text:
            told |= {"id": aside.id, "text": aside.text}
        lines.append(json.dumps(told, ensure_ascii=False) + "\n")
    return "".join(lines).encode()


def _content(store: Store, name: str) -> io.BytesIO:
    data = store.get(name)
    if data is None:
        raise IntegrityError(f"{name} is missing", where=store.place, next="give the command of the run again")
    return io.BytesIO(data)


def _length(outcome: Document | Aside) -> int | None:
    return len(outcome.text) if isinstance(outcome, Document) else None


def _label_scores(outcome: Document | Aside) -> list[float | None] | None:
    if not isinstance(outcome, Document):
        return None
    if TOGETHER in outcome.meta:
        found = [score for _, score in outcome.meta[TOGETHER]]
    else:
        scores = outcome.meta.get("label_scores", {})
        found = [scores.get(label) for label in outcome.labels]
    return [None if score is None else round(score, DECIMALS) for score in found]


def _places(document: Document, unit: str) -> list[tuple[int, int]]:
    """The start and end of each span in another unit."""
    places = places_in(document.text, unit) if document.spans else None
    if places is None:
        return [(span.start, span.end) for span in document.spans]
    return [(int(places[span.start]), int(places[span.end])) for span in document.spans]


def _parquet(schema: Any, columns: Mapping[str, list[Any]]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    held = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(dict(columns), schema=schema), held, compression="zstd")
    return held.getvalue()


def _attributes(span: Span) -> str:
    """What a span carries, scores rounded; not what other columns hold."""
    held = {name: value for name, value in span.attributes.items() if name not in OURS}
    rounded = {name: round(value, DECIMALS) if isinstance(value, float) else value for name, value in held.items()}
    return json.dumps(rounded, ensure_ascii=False, sort_keys=True)


def _span_schema(offsets: Sequence[str] = (), together: bool = False, attributes: bool = False) -> Any:
    import pyarrow as pa

    columns = {"document_id": pa.string(), "start": pa.int64(), "end": pa.int64(), "label": pa.string()}
    others: dict[str, Any] = {name: pa.int64() for unit in offsets for name in COLUMNS_OF[unit]}
    others |= {"model": pa.string()} if together else {}
    others |= {"attributes": pa.string()} if attributes else {}
    return pa.schema({**columns, "score": pa.float32(), "ordinal": pa.int64(), "window": pa.int32(), **others})


def _document_schema(together: bool = False) -> Any:
    import pyarrow as pa

    counts = {name: pa.int64() for name in ("characters", "characters_read", "spans")}
    lists = {"labels": pa.list_(pa.string()), "label_scores": pa.list_(pa.float32())}
    others = {"label_models": pa.list_(pa.string())} if together else {}
    plain = {"status": pa.string(), "ordinal": pa.int64()}
    return pa.schema({"document_id": pa.string(), **counts, **lists, **plain, **others})
