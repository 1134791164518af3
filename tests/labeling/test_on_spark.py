"""Spark: one row out for each row in, the same labels as `clinnlp label`, on batches and on a local Spark."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from clinnlp.core.document import Document
from clinnlp.errors import DataError
from clinnlp.labeling.on_spark import SCHEMA, labeler
from clinnlp.labeling.options import Options
from clinnlp.labeling.output import read_labels
from tests.labeling.fakes import Fake, label

TEXTS = ["fever", "", "RAISE now", "cough\r\n", None, "\U0001f600 rash"]
IDS = ["0012", "12", "c", "d", "e", "f"]


def rows(ids: list[Any] = IDS, texts: list[Any] = TEXTS) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"note_id": ids, "note_text": texts})


def test_every_row_of_every_batch_has_its_row() -> None:
    found = list(labeler(Fake())(iter([rows(), rows(IDS[:1], TEXTS[:1]), rows([], pa.array([], pa.string()))])))
    assert [batch.num_rows for batch in found] == [6, 1, 0]
    first = found[0].to_pylist()
    assert [row["document_id"] for row in first] == IDS
    assert [row["status"] for row in first] == [
        "labeled", "empty", "quarantined", "labeled", "quarantined", "labeled",
    ]  # fmt: skip
    assert first[2]["reason"] == "the model failed (RuntimeError)"
    assert first[4]["reason"] == "the text is NoneType, not a string"
    assert first[3]["characters"] == first[3]["characters_read"] == 7
    assert [(span["start"], span["end"], span["label"]) for span in first[5]["spans"]] == [(0, 1, "PROBLEM")]


def test_ids_are_strings_and_a_missing_column_is_named() -> None:
    (found,) = labeler(Fake())(iter([rows([2**53 + 1, None], ["fever", "cough"])]))
    assert [(row["document_id"], row["status"]) for row in found.to_pylist()] == [
        (str(2**53 + 1), "labeled"), (None, "quarantined"),
    ]  # fmt: skip
    with pytest.raises(DataError, match="no column 'body'"):
        next(labeler(Fake(), text_column="body")(iter([rows()])))


def test_the_labels_are_those_of_a_run(tmp_path: Path) -> None:
    notes = [Document(id, text) for id, text in zip(IDS, TEXTS, strict=True) if text is not None]
    label(tmp_path, list(notes), options=Options(shard_documents=2, workers=0))
    spans = read_labels(tmp_path).spans
    (found,) = labeler(Fake())(iter([rows([d.id for d in notes], [d.text for d in notes])]))
    assert [
        (row["document_id"], span["start"], span["end"], span["label"], span["score"])
        for row in found.to_pylist()
        for span in row["spans"] or ()
    ] == list(spans[["document_id", "start", "end", "label", "score"]].itertuples(index=False, name=None))


def test_on_a_local_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    sql = pytest.importorskip("pyspark.sql", reason="PySpark is not installed")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    spark = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        notes = [(f"n{number}", None if number == 7 else f"fever {number}") for number in range(40)]
        frame = spark.createDataFrame(notes, "note_id string, note_text string").repartition(4)
        found = {row.document_id: row for row in frame.mapInArrow(labeler(Fake()), SCHEMA).collect()}
    finally:
        spark.stop()
    assert found.keys() == {id for id, _ in notes}
    assert found["n7"].status == "quarantined"
    assert [(s.start, s.end, s.label) for s in found["n3"].spans] == [(0, 1, "PROBLEM")]
    assert found["n3"].spans[0].score == pytest.approx(0.12346)
