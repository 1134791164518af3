"""Labeling notes into tables: every note accounted for, in the schema that others read."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

import clinnlp
from tests.recipes.command import clinnlp as command
from tests.recipes.command import notes, read_json, write_jsonl

SPANS = {
    "document_id": "string", "start": "int64", "end": "int64", "label": "string", "score": "float", "ordinal": "int64",
    "window": "int32",
}  # fmt: skip
DOCUMENTS = {
    "document_id": "string", "characters": "int64", "characters_read": "int64", "spans": "int64", "status": "string",
    "ordinal": "int64",
}  # fmt: skip
HERE = ("--workers", 0)  # most tests need no worker process: loading torch takes seconds


def asides(out: Path) -> list[dict[str, Any]]:
    """What the quarantine files of a run hold."""
    files = sorted((out / "quarantine").glob("*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text(encoding="utf-8").splitlines()]


def types(folder: Path) -> dict[str, str]:
    (path,) = folder.glob("*.parquet")
    return {field.name: str(field.type) for field in pyarrow.parquet.read_schema(path)}


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Five good notes, two of them empty, and three bad records between them."""
    good = [json.dumps(note | {"spans": []}) for note in notes(3, "good")]
    lines = [
        good[0],
        '{"id": "empty", "text": ""}',
        '{"id": "torn", "text": "Qvortrup',
        good[1],
        '{"id": "blank", "text": " \\n "}',
        '{"id": "number", "text": 7}',
        '{"id": "nothing"}',
        good[2],
    ]
    path = tmp_path / "notes.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_tables_have_the_schema_that_scripts_rely_on(ner_run: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command("label", "--model", ner_run / "model", "--notes", corpus / "test.jsonl", "--out", out) == 0
    assert types(out / "spans") == SPANS
    assert DOCUMENTS.items() <= types(out / "documents").items()
    spans, documents = clinnlp.read_labels(out)
    text = {note["id"]: note["text"] for note in notes(12, "test")}
    assert documents.document_id.tolist() == list(text), "in the order of the notes"
    assert documents.characters.tolist() == documents.characters_read.tolist() == [len(t) for t in text.values()]
    assert documents.spans.sum() == len(spans) > 12
    assert set(documents.status) == {"labeled"}
    assert {text[row.document_id][row.start : row.end] for row in spans.itertuples()} & {"aspirin", "fever"}
    assert spans.score.between(0, 1).all()
    assert list(types(out / "spans"))[:5] == ["document_id", "start", "end", "label", "score"]


def test_labels_agree_with_the_model_as_a_function(ner_run: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--notes", corpus / "test.jsonl", "--shard_documents", 5, "--batch_tokens", 64, "--out", out)
    assert command("label", *HERE, "--model", ner_run / "model", *words) == 0
    assert len(list((out / "documents").glob("*.parquet"))) == 3
    spans = clinnlp.read_labels(out).spans
    told = [(row.document_id, row.start, row.end, row.label) for row in spans.itertuples()]
    gold = list(clinnlp.read(corpus / "test.jsonl", "jsonl"))
    said = clinnlp.load(ner_run / "model")([d.text for d in gold])
    assert told == [(d.id, s.start, s.end, s.label) for d, found in zip(gold, said, strict=True) for s in found.spans]


def test_note_labels_and_their_scores(labels_run: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command("label", *HERE, "--model", labels_run / "model", "--notes", corpus / "test.jsonl", "--out", out) == 0
    spans, documents = clinnlp.read_labels(out)
    assert len(spans) == 0
    assert set().union(*documents.labels) <= {"aspirin", "fever"}
    threshold = read_json(labels_run / "model" / "clinnlp.json")["task"]["threshold"]
    for row in documents.itertuples():
        assert len(row.labels) == len(row.label_scores)
        assert all(score >= threshold - 1e-6 for score in row.label_scores)


def test_bad_records_are_set_aside_and_counted(
    ner_run: Path, mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert (
        command("label", *HERE, "--model", ner_run / "model", "--notes", mixed, "--format", "jsonl", "--out", out) == 3
    )
    counts = read_json(out / "counts.json")
    assert (counts["input"], counts["labeled"], counts["empty"], counts["quarantined"]) == (8, 5, 2, 3)
    documents = clinnlp.read_labels(out).documents
    assert documents.document_id.fillna("-").tolist() == [
        "good-0", "empty", "-", "good-1", "blank", "-", "-", "good-2",
    ], "one row for each record, in order"  # fmt: skip
    assert documents.status.value_counts().to_dict() == {"labeled": 3, "quarantined": 3, "empty": 2}
    assert [(record["where"], record["code"], record["reason"]) for record in asides(out)] == [
        ("notes.jsonl line 3", "CLN-D201", "not valid JSON at character 23 (Unterminated string starting at)"),
        ("notes.jsonl line 6", "CLN-D201", "field 'text' is int, not a string"),
        ("notes.jsonl line 7", "CLN-D201", "field 'text' is missing: if another field holds the note, set text_field"),
    ]
    told = capsys.readouterr()
    assert "8 notes = 5 labeled (2 of them empty) + 3 set aside + 0 excluded;" in told.err
    missing = "field 'text' is missing: if another field holds the note, set text_field"
    assert f"warning: set aside: 1 x {missing} (see {out}/quarantine)" in told.err
    assert "Qvortrup" not in told.out + told.err + str(asides(out))


def test_a_note_the_model_fails_on_costs_only_itself(
    ner_run: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clinnlp.labeling import predict as module

    real = module.predict_chunk

    def predict(trained: Any, documents: Any, batch_tokens: int) -> Any:
        if any(d.id == "test-3" for d in documents):
            raise RuntimeError("Qvortrup")
        return real(trained, documents, batch_tokens)

    monkeypatch.setattr(module, "predict_chunk", predict)
    out = tmp_path / "out"
    assert command("label", *HERE, "--model", ner_run / "model", "--notes", corpus / "test.jsonl", "--out", out) == 3
    documents = clinnlp.read_labels(out).documents
    assert documents[documents.status == "quarantined"].document_id.tolist() == ["test-3"]
    assert read_json(out / "counts.json")["quarantine_reasons"] == {"the model failed (RuntimeError)": 1}


def test_a_long_note_is_read_to_its_end(ner_run: Path, tmp_path: Path) -> None:
    note = notes(1, "long")[0]
    text = note["text"].replace("\r\n", " ") + " "
    path = write_jsonl(tmp_path / "n.jsonl", [{"id": "1", "text": text * 200}])
    out = tmp_path / "out"
    assert command("label", *HERE, "--model", ner_run / "model", "--notes", path, "--out", out) == 0
    spans, documents = clinnlp.read_labels(out)
    assert documents.characters_read.tolist() == [len(text) * 200]
    assert spans.window.is_monotonic_increasing and spans.window.max() > 100, "windows of 24 tokens"
    tenths = (10 * spans.start // (len(text) * 200)).value_counts()
    assert len(tenths) == 10 and tenths.min() > len(spans) / 20, "as many in each part, up to the end"


def test_other_formats_and_fields(ner_run: Path, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "n.jsonl", [{"note_id": 7, "note": "fever"}])
    words = ("--notes", path, "--format", "jsonl", "--id_field", "note_id", "--text_field", "note")
    assert command("label", *HERE, "--model", ner_run / "model", *words, "--out", tmp_path / "a") == 0
    assert clinnlp.read_labels(tmp_path / "a").documents.document_id.tolist() == ["7"]
    (tmp_path / "n.csv").write_text("id,text\nx,fever\ny,\n", encoding="utf-8")
    words = ("--notes", tmp_path / "n.csv", "--format", "csv")
    assert command("label", *HERE, "--model", ner_run / "model", *words, "--out", tmp_path / "b") == 0
    assert clinnlp.read_labels(tmp_path / "b").documents.status.tolist() == ["labeled", "empty"]


def test_notes_are_left_out_by_a_rule_and_counted(
    ner_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = ("visit", "billing", "visit", 7, "consent")
    records = [note | {"kind": kind} for note, kind in zip(notes(5, "n"), kinds, strict=True)]
    path, out = write_jsonl(tmp_path / "n.jsonl", records), tmp_path / "out"
    words = ("label", *HERE, "--model", ner_run / "model", "--notes", path, "--out", out, "--shard_documents", 2)
    rules = ("--exclude.kind", "[billing, consent, '7']", "--exclude.ward", "x")
    assert command(*words, *rules, "--to", "jsonl", "--to_path", tmp_path / "to.jsonl") == 0
    assert "5 notes = 2 labeled (0 of them empty) + 0 set aside + 3 excluded;" in capsys.readouterr().err
    spans, documents = clinnlp.read_labels(out)
    assert documents.status.tolist() == ["labeled", "excluded", "labeled", "excluded", "excluded"]
    assert documents.document_id.tolist() == [f"n-{n}" for n in range(5)] and not (out / "quarantine").exists()
    assert set(spans.document_id) == {"n-0", "n-2"} == {d.id for d in clinnlp.read(tmp_path / "to.jsonl", "jsonl")}
    assert read_json(out / "counts.json")["quarantine_reasons"] == {}
    assert command("verify", out) == 0
    assert command(*words) == 4, "other rules are another run"
    write_jsonl(path, [*records[:4], records[4] | {"kind": "visit"}])
    assert command(*words, *rules) == 4, "a note is no longer left out"
    assert "1 documents differ" in capsys.readouterr().err
    assert command(*words, *rules, "--relabel", "true") == 0
    assert clinnlp.read_labels(out).documents.status.tolist()[-1] == "labeled"


def test_no_labels_here(tmp_path: Path) -> None:
    with pytest.raises(clinnlp.ClinnlpError) as error:
        clinnlp.read_labels(tmp_path)
    assert str(error.value) == f"{tmp_path}: no labels here. Next: give the --out folder of `clinnlp label`."


def test_a_labeling_run_is_no_file_of_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gold = write_jsonl(tmp_path / "gold.jsonl", notes(3, "gold"))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "run.json").write_text("{}")
    words = ("--predictions", tmp_path / "labels", "--data.test", gold, "--out", tmp_path / "out")
    assert command("evaluate", *words) == 2
    assert "Next: hand its labels over first: the label command again with --to jsonl" in capsys.readouterr().err


def test_a_price_is_not_negative(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--model", tmp_path, "--notes", tmp_path, "--out", tmp_path / "out", "--plan", "true")
    assert command("label", *words, "--price_per_hour", -1) == 2
    assert "price_per_hour: must be 0 or more" in capsys.readouterr().err


def test_labels_are_handed_over_in_another_format(ner_run: Path, corpus: Path, tmp_path: Path) -> None:
    words = ("--model", ner_run / "model", "--notes", corpus / "test.jsonl", "--shard_documents", 5)
    given = ("--out", tmp_path / "out", "--to", "jsonl", "--to_path", tmp_path / "labeled.jsonl")
    assert command("label", *HERE, *words, *given) == 0
    found = list(clinnlp.read(tmp_path / "labeled.jsonl", "jsonl"))
    spans = clinnlp.read_labels(tmp_path / "out").spans
    assert [(d.id, s.start, s.end, s.label) for d in found for s in d.spans] == list(
        spans[["document_id", "start", "end", "label"]].itertuples(index=False, name=None)
    )
    assert [d.text for d in found] == [note["text"] for note in notes(12, "test")]


def test_a_finished_run_hands_over_once_more(
    ner_run: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", ner_run / "model", "--notes", corpus / "test.jsonl", "--out", tmp_path / "out")
    assert command("label", *HERE, *words) == 0
    for _ in range(2):
        code = command("label", *HERE, *words, "--to", "brat", "--to_path", tmp_path / "brat")
    assert len(list((tmp_path / "brat").glob("*.txt"))) == 12
    assert code == 5
    assert "the target is there already" in capsys.readouterr().err
    fresh = (*words[:-1], tmp_path / "fresh")
    assert command("label", *HERE, *fresh, "--to", "brat", "--to_path", tmp_path / "brat") == 5
    assert command("label", *HERE, *fresh, "--to", "omop", "--to_path", f"sqlite:///{tmp_path}/no.db") == 2
    assert "no.db: no such file" in capsys.readouterr().err
    assert not (tmp_path / "fresh").exists(), "it is said before a note is labeled"
    for path in ((), ("--to_path", "")):
        assert command("label", *HERE, *words, "--to", "brat", *path) == 2
        assert "give --to and --to_path" in capsys.readouterr().err


def test_an_engine_is_chosen_and_a_run_goes_on_with_it_alone(
    ner_run: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", ner_run / "model", "--notes", corpus / "test.jsonl", "--shard_documents", 5)
    for name, engine in (("torch", ()), ("packed", ("--engine", "packed", "--engine.precision", "fp32"))):
        assert command("label", *HERE, *words, *engine, "--out", tmp_path / name) == 0
    torch, packed = (clinnlp.read_labels(tmp_path / name).spans for name in ("torch", "packed"))
    assert torch.drop(columns="score").equals(packed.drop(columns="score"))
    assert command("label", *HERE, *words, "--out", tmp_path / "packed") == 4
    told = capsys.readouterr().err
    assert 'differs in engine ({"name": "packed", "precision": "fp32", "device": "cpu"}, now {"name": "torch"' in told
    assert command("label", *HERE, *words, "--engine", "packd", "--out", tmp_path / "typo") == 2
    assert "Did you mean 'packed'" in capsys.readouterr().err
