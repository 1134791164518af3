"""Labeling inside Spark: a function for `DataFrame.mapInArrow`, for notes that already lie in a warehouse.

    from clinnlp.labeling.on_spark import SCHEMA, labeler

    labels = spark.table("notes").select("note_id", "note_text").mapInArrow(labeler("runs/ner/model"), SCHEMA)

Every row of the input is one row of the output, in order. Spark runs a task again that failed, and its own committer
sees to it that the rows of one attempt alone are kept.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clinnlp.core.document import Document
from clinnlp.errors import DataError
from clinnlp.labeling.model import Model, ModelFolder
from clinnlp.labeling.output import DECIMALS, Aside
from clinnlp.labeling.shard import TOO_LONG, UNREADABLE, Labeler, status_of

if TYPE_CHECKING:
    import pyarrow

SCHEMA = (
    "document_id string, characters long, characters_read long, status string, reason string, labels array<string>, "
    "label_scores array<float>, spans "
    "array<struct<start: long, `end`: long, label: string, score: float, window: int>>"
)
"""The columns of the output, as Spark writes a schema."""

Batches = Iterable["pyarrow.RecordBatch"]


def labeler(
    model: str | Path | Model,
    id_column: str = "note_id",
    text_column: str = "note_text",
    base: str | None = None,
    batch_tokens: int = 4096,
    max_characters: int = 5_000_000,
) -> Callable[[Batches], Iterator["pyarrow.RecordBatch"]]:
    """A function that labels record batches; the model folder must be readable on every executor.

    Ids are read as strings. A note that cannot be labeled, or is longer than `max_characters`, has the status
    `quarantined` and a reason; no note fails the task but one that ends its process, or on which the model does not
    answer. Raises DataError if a column is missing.
    """
    chosen = ModelFolder(Path(model), base) if isinstance(model, str | Path) else model

    def label(batches: Batches) -> Iterator["pyarrow.RecordBatch"]:
        ready = Labeler(chosen.load(), batch_tokens)
        for batch in batches:
            if missing := {id_column, text_column} - set(batch.schema.names):
                raise DataError(f"no column {sorted(missing)[0]!r}", where="mapInArrow", next="name the columns")
            ids, texts = (batch.column(name).to_pylist() for name in (id_column, text_column))
            records = [_record(id, text, max_characters) for id, text in zip(ids, texts, strict=True)]
            yield _batch([_row(outcome) for outcome in _outcomes(ids, records, ready)])

    return label


def _outcomes(ids: list[Any], records: list[Document | Aside], ready: Labeler) -> list[Document | Aside]:
    """What became of each row."""
    said = iter(ready.label([record for record in records if isinstance(record, Document)]))
    answered = [record if isinstance(record, Aside) else next(said) for record in records]
    return [
        Aside(one.code, one.reason, "", None if id is None else str(id)) if isinstance(one, Aside) else one
        for one, id in zip(answered, ids, strict=True)
    ]


def _record(id: Any, text: Any, max_characters: int) -> Document | Aside:
    if id is None or not isinstance(text, str):
        what = "no id" if id is None else f"the text is {type(text).__name__}, not a string"
        return Aside(UNREADABLE, what, "")
    if len(text) > max_characters:
        return Aside(TOO_LONG, f"longer than {max_characters} characters", "")
    try:
        return Document(str(id), text)
    except DataError as error:
        return Aside(UNREADABLE, error.what, "")


def _row(outcome: Document | Aside) -> Mapping[str, Any]:
    if isinstance(outcome, Aside):
        return {"document_id": outcome.id, "status": status_of(outcome), "reason": outcome.reason, "characters_read": 0}
    scores = outcome.meta.get("label_scores", {})
    return {
        "document_id": outcome.id,
        "characters": len(outcome.text),
        "characters_read": len(outcome.text),
        "status": status_of(outcome),
        "labels": list(outcome.labels),
        "label_scores": [_rounded(scores.get(label)) for label in outcome.labels],
        "spans": [
            {
                "start": span.start,
                "end": span.end,
                "label": span.label,
                "score": _rounded(span.score),
                "window": span.attributes.get("window"),
            }
            for span in outcome.spans
        ],
    }


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, DECIMALS)


def _batch(rows: list[Mapping[str, Any]]) -> "pyarrow.RecordBatch":
    import pyarrow as pa

    whole, texts = pa.int64(), pa.list_(pa.string())
    span = pa.struct({"start": whole, "end": whole, "label": pa.string(), "score": pa.float32(), "window": pa.int32()})
    columns = {
        "document_id": pa.string(), "characters": whole, "characters_read": whole, "status": pa.string(),
        "reason": pa.string(), "labels": texts, "label_scores": pa.list_(pa.float32()), "spans": pa.list_(span),
    }  # fmt: skip
    return pa.RecordBatch.from_pylist(rows, schema=pa.schema(columns))
