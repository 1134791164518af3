"""Evaluation of a model and of predictions: the same figures by either way."""

from pathlib import Path
from typing import Any

import pytest

from tests.recipes.command import clinnlp, notes, read_json, write_jsonl


@pytest.mark.parametrize("kind", ["ner_run", "type_run", "labels_run"])
def test_by_model_and_by_predictions(
    kind: str, corpus: Path, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    run = request.getfixturevalue(kind)
    gold = ["--data.test", corpus / "test.jsonl", "--seed", 1]
    gold += ["--data.labels_field", "note_type"] if kind == "type_run" else []
    assert clinnlp("evaluate", "--model", run / "model", *gold, "--out", tmp_path / "a") == 0
    assert (tmp_path / "a" / "report.txt").read_text(encoding="utf-8") in capsys.readouterr().out
    task = "ner" if kind == "ner_run" else "note_classification"
    predictions = ("--predictions", tmp_path / "a" / "predictions.jsonl", "--task", task)
    assert clinnlp("evaluate", *predictions, *gold, "--out", tmp_path / "b") == 0
    by_model, by_predictions = (read_json(tmp_path / name / "metrics.json") for name in "ab")
    part = "entity" if kind == "ner_run" else "notes"
    assert by_model[part] == by_predictions[part]
    trained = read_json(run / "metrics.json")[part]
    assert rounded(by_model[part]) == rounded(trained), "and as when it was trained, but for the rounding of scores"


def rounded(value: Any) -> Any:
    """The same values with floats to five places: an adapter that is merged answers otherwise in the seventh."""
    if isinstance(value, dict):
        return {key: rounded(held) for key, held in value.items()}
    if isinstance(value, list):
        return [rounded(held) for held in value]
    return round(value, 5) if isinstance(value, float) else value


def test_gold_against_itself_is_perfect(tmp_path: Path, corpus: Path) -> None:
    path = corpus / "test.jsonl"
    assert (
        clinnlp("evaluate", "--predictions", path, "--data.test", path, "--task", "ner", "--out", tmp_path / "o") == 0
    )
    micro = read_json(tmp_path / "o" / "metrics.json")["entity"]["strict"]["micro"]
    assert (micro["tp"], micro["fp"], micro["fn"], micro["f1"]) == (24, 0, 0, 1.0)


def test_predictions_in_another_format(tmp_path: Path, corpus: Path) -> None:
    gold = tmp_path / "gold.conll"
    gold.write_text("fever\tB-PROBLEM\nand\tO\naspirin\tB-DRUG\n\n", encoding="utf-8")
    said = write_jsonl(
        tmp_path / "said.jsonl",
        [{"id": "1", "text": "fever and aspirin", "spans": [{"start": 0, "end": 5, "label": "PROBLEM"}]}],
    )
    words = ("--predictions", said, "--predictions_format", "jsonl", "--data.test", gold, "--data.format", "conll")
    assert clinnlp("evaluate", *words, "--out", tmp_path / "out") == 0
    micro = read_json(tmp_path / "out" / "metrics.json")["entity"]["strict"]["micro"]
    assert (micro["tp"], micro["fp"], micro["fn"]) == (1, 0, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "other"}, "gold and predictions hold different documents: 1 of 1 gold without a prediction"),
        ({"text": "Plan: Qvortrup"}, "texts differ between gold and predictions in 1 of 1 documents"),
    ],
    ids=["ids", "texts"],
)
def test_predictions_of_other_notes_are_refused(
    change: dict[str, str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (note,) = notes(1, "a")
    gold = write_jsonl(tmp_path / "gold.jsonl", [note])
    said = write_jsonl(tmp_path / "said.jsonl", [note | {"spans": []} | change])
    assert clinnlp("evaluate", "--predictions", said, "--data.test", gold, "--out", tmp_path / "out") == 2
    told = capsys.readouterr()
    assert message in told.err
    assert "Qvortrup" not in told.out + told.err
    assert not (tmp_path / "out").exists(), "nothing was made: the corrected command may use the folder"
