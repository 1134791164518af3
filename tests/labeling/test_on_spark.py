"""Spark: one row out for each row in, the same labels as `clinnlp label`, on batches and on a local Spark."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from clinnlp.core.document import Document, Span
from clinnlp.errors import DataError
from clinnlp.labeling.on_spark import SCHEMA, labeler
from clinnlp.labeling.options import Options
from clinnlp.labeling.output import read_labels
from tests.labeling.fakes import Fake, label

TEXTS = ["fever", "", "RAISE now", "cough\r\n", None, "\U0001f600 rash"]
IDS = ["0012", "12", "c", "d", "e", "f"]
ODD = [
    "\U0001f600 rash",
    "a\x00b",
    "x\r\n\u2028y\x85",
    "cafe\u0301",
    "=HYPERLINK(1)",
    "\u202ehguoc",
    "\ufeffx",
    "",
    " ",
]


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


def test_rows_that_cannot_be_labeled_say_why_and_cost_no_other() -> None:
    (found,) = labeler(Fake(), max_characters=8)(iter([rows(["a", "b", "a"], ["fever", "x" * 9, "cough"])]))
    told = [(row["document_id"], row["status"], row["reason"]) for row in found.to_pylist()]
    assert told == [
        ("a", "labeled", None), ("b", "quarantined", "longer than 8 characters"), ("a", "labeled", None),
    ], "an id that occurs twice is two rows"  # fmt: skip
    raw = pa.array([b"Qvortrup", None], pa.binary())
    (found,) = labeler(Fake())(iter([rows(["a", "b"], raw)]))
    assert [row["reason"] for row in found.to_pylist()] == [
        "the text is bytes, not a string", "the text is NoneType, not a string",
    ]  # fmt: skip
    (found,) = labeler(Fake())(iter([rows(["a", "b"], ["MEMORY fever", "TOO_MUCH"])]))
    assert [row["status"] for row in found.to_pylist()] == ["labeled", "quarantined"]


class Unanswered(Fake):
    """A model whose scores are no numbers."""

    def _predict(self, documents: Sequence[Document], batch_tokens: int) -> list[Document]:
        return [replace(d, spans=(Span(0, 1, "X", float("nan")),)) for d in documents]


def test_a_score_that_is_no_number_is_no_label() -> None:
    (found,) = labeler(Unanswered())(iter([rows(["a"], ["fever"])]))
    (row,) = found.to_pylist()
    assert (row["status"], row["reason"]) == ("quarantined", "the model answered with NaN or infinity")
    assert row["spans"] is None and row["characters_read"] == 0


def test_a_model_is_loaded_once_for_all_batches_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[int] = []
    monkeypatch.setattr(Fake, "load", lambda self: loads.append(1) or self._predict)
    assert len(list(labeler(Fake())(iter([rows(), rows(), rows()])))) == 3
    assert loads == [1]


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


def test_on_a_local_spark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = pytest.importorskip("pyspark.sql", reason="PySpark is not installed")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    spark = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        notes = [(f"n{number}", None if number == 7 else f"fever {number}") for number in range(40)]
        notes += [(f"odd {number}", text) for number, text in enumerate(ODD)]
        frame = spark.createDataFrame(notes, "note_id string, note_text string").repartition(4)
        frame.mapInArrow(labeler(Fake()), SCHEMA).write.parquet(str(tmp_path / "labels"))
    finally:
        spark.stop()
    table = pyarrow.parquet.read_table(tmp_path / "labels").to_pylist()
    assert len(table) == len(notes), "one row for each, in whichever order"
    found = {row["document_id"]: row for row in table}
    assert found["n7"]["status"] == "quarantined" and found["n7"]["spans"] is None
    label(tmp_path / "run", [Document(id, text) for id, text in notes if text is not None])
    spans, documents = read_labels(tmp_path / "run")
    columns = ["document_id", "characters", "characters_read", "status"]
    assert found.keys() - set(documents.document_id) == {"n7"}
    for row in documents[columns].to_dict("records"):
        assert {name: found[row["document_id"]][name] for name in columns} == row
    columns = ["start", "end", "label", "score"]
    for id, held in spans.groupby("document_id"):
        wanted = held[columns].to_dict("records")
        assert [{name: span[name] for name in columns} for span in found[id]["spans"]] == wanted, "to the last bit"
