"""Labels on disk: Parquet shards of spans and of documents, and the reader that trusts only whole ones."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clinnlp.core.document import Document, Quarantined
from clinnlp.errors import ConfigError

if TYPE_CHECKING:
    import pandas

LABELED, EMPTY, QUARANTINED = "labeled", "empty", "quarantined"


class Labels(NamedTuple):
    """The labels of a run: `spans` with one row per entity, `documents` with one row per note."""

    spans: "pandas.DataFrame"
    documents: "pandas.DataFrame"


def read_labels(folder: str | Path) -> Labels:
    """The labels under an output folder of `clinnlp label`, in note order, as two pandas tables.

    Raises ConfigError if the folder holds no labels.
    """
    import pyarrow.dataset

    root = Path(folder)
    if not (root / "documents").is_dir():
        raise ConfigError("no labels here", where=str(root), next="give the --out folder of `clinnlp label`")
    tables = []
    for name, schema in (("spans", _span_schema()), ("documents", _document_schema())):
        shards = sorted((root / name).glob("*.parquet"))
        data = pyarrow.dataset.dataset(shards, schema=schema, format="parquet")
        tables.append(data.to_table().to_pandas())
    return Labels(*tables)


class ShardWriter:
    """Writes shard after shard, each whole or not at all: aside, flushed to disk, then renamed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.shards = folder, 0
        for name in ("spans", "documents"):
            (folder / name).mkdir(mode=0o700, exist_ok=True)

    def write(self, documents: Sequence[Document], statuses: Sequence[str], aside: Sequence[Quarantined] = ()) -> None:
        """Write one shard: the labeled documents, then a row for each record that was set aside."""
        spans = [
            {
                "document_id": document.id,
                "start": span.start,
                "end": span.end,
                "label": span.label,
                "score": span.score,
            }
            for document in documents
            for span in document.spans
        ]
        notes = [
            {
                "document_id": document.id,
                "characters": len(document.text),
                "characters_read": len(document.text),
                "spans": len(document.spans),
                "labels": list(document.labels),
                "label_scores": [document.meta.get("label_scores", {}).get(label) for label in document.labels],
                "status": status,
            }
            for document, status in zip(documents, statuses, strict=True)
        ] + [{"document_id": record.id, "characters_read": 0, "spans": 0, "status": QUARANTINED} for record in aside]
        self._put("spans", spans, _span_schema())
        self._put("documents", notes, _document_schema())
        self.shards += 1

    def _put(self, name: str, rows: list[dict[str, Any]], schema: Any) -> None:
        import pyarrow
        import pyarrow.parquet

        path = self.folder / name / f"part-{self.shards:06d}.parquet"
        aside = path.with_suffix(".tmp")
        with aside.open("wb") as file:
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)


def _span_schema() -> Any:
    import pyarrow as pa

    columns = {"document_id": pa.string(), "start": pa.int64(), "end": pa.int64(), "label": pa.string()}
    return pa.schema({**columns, "score": pa.float32()})


def _document_schema() -> Any:
    import pyarrow as pa

    counts = {name: pa.int64() for name in ("characters", "characters_read", "spans")}
    lists = {"labels": pa.list_(pa.string()), "label_scores": pa.list_(pa.float32())}
    return pa.schema({"document_id": pa.string(), **counts, **lists, "status": pa.string()})
