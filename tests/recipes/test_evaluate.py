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
    covered = "Coverage 100 %: every token of every note was read in a window and answered"
    told = [(tmp_path / name / "report.txt").read_text(encoding="utf-8") for name in "ab"]
    assert [covered in text for text in told] == [True, False], "of predictions made elsewhere it is not known"
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


def test_the_report_says_what_to_know_first_and_where_it_comes_from(tmp_path: Path) -> None:
    gold = [note | {"group": None} for note in notes(12, "test")]
    gold += [
        note | {"id": f"e{n}", "text": " ", "spans": [], "labels": [], "group": None} for n, note in enumerate(gold[:2])
    ]
    said = [note | {"spans": [span | {"score": 0.5 + n / 40} for span in note["spans"]]} for n, note in enumerate(gold)]
    for name, records in (("gold", gold), ("said", said)):
        write_jsonl(tmp_path / f"{name}.jsonl", records)
    words = ("--data.test", tmp_path / "gold.jsonl", "--predictions", tmp_path / "said.jsonl", "--interval", "bca")
    assert clinnlp("evaluate", *words, "--task", "ner", "--out", tmp_path / "out") == 0
    metrics = read_json(tmp_path / "out" / "metrics.json")
    told = [
        "2 of 14 notes are empty",
        "no note names its patient (group): leaks of patients between splits cannot be seen, and intervals take notes "
        "as independent",
    ]
    assert metrics["notices"] == told
    assert metrics["calibration"]["after"]["items"] == 24, "scores of predictions made elsewhere are looked at too"
    text = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert text.startswith("".join(f"note: {line}\n" for line in told))
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for shown in (
        "Read first",
        told[0],
        "sha256 of test",
        "predictions_format.name",
        "Calibration",
        "settings fingerprint",
    ):
        assert shown in page, shown


def test_tags_that_continue_nothing_are_counted_on_both_sides(tmp_path: Path) -> None:
    (tmp_path / "gold.conll").write_text("pain B-A\nin O\nchest I-A\n\nno O\nfever I-A\n", encoding="utf-8")
    (tmp_path / "said.conll").write_text("pain B-A\nin O\nchest B-A\n\nno O\nfever I-A\n", encoding="utf-8")
    words = ("--data.test", tmp_path / "gold.conll", "--data.format", "conll", "--predictions", tmp_path / "said.conll")
    given = ("--predictions_format", "conll", "--data.scheme", "IOB2", "--predictions_format.scheme", "IOB2")
    assert clinnlp("evaluate", *words, *given, "--out", tmp_path / "out") == 0
    metrics = read_json(tmp_path / "out" / "metrics.json")
    told = [
        f"{side} tags that continue nothing (I without B): {count}, each read as the begin of an entity"
        for side, count in (("gold", 2), ("predicted", 1))
    ]
    assert metrics["notices"][-2:] == told
    assert metrics["entity"]["strict"]["micro"]["f1"] == 1.0, "they mean the same entities"
    for report in ("report.txt", "report.html"):
        text = (tmp_path / "out" / report).read_text(encoding="utf-8")
        assert all(line in text for line in told)


def test_illegal_tags_of_gold_are_not_those_of_a_model(ner_run: Path, tmp_path: Path) -> None:
    (tmp_path / "gold.conll").write_text("on O\naspirin I-DRUG\nfor O\nfever B-PROBLEM\n", encoding="utf-8")
    gold = ("--data.test", tmp_path / "gold.conll", "--data.format", "conll", "--data.scheme", "IOB2")
    assert clinnlp("evaluate", "--model", ner_run / "model", *gold, "--out", tmp_path / "model") == 0
    said = tmp_path / "model" / "predictions.jsonl"
    assert clinnlp("evaluate", "--predictions", said, *gold, "--out", tmp_path / "file") == 0
    for out in ("model", "file"):
        notices = read_json(tmp_path / out / "metrics.json")["notices"]
        assert [line.partition(" tags ")[0] for line in notices if "continue nothing" in line] == ["gold"], out


@pytest.mark.parametrize("tag", ["PROBLEM", "LABEL_1", "B_PROBLEM", "b-PROBLEM"])
@pytest.mark.parametrize("side", ["gold", "said"])
def test_tags_without_a_prefix_are_refused(
    side: str, tag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("gold", "said"):
        shown = tag if name == side else "B-PROBLEM"
        (tmp_path / f"{name}.conll").write_text(f"no O\nfever {shown}\n", encoding="utf-8")
    words = ("--data.test", tmp_path / "gold.conll", "--data.format", "conll", "--predictions", tmp_path / "said.conll")
    assert clinnlp("evaluate", *words, "--predictions_format", "conll", "--out", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert f"{side}.conll line 2: a tag is neither O nor a label with a prefix such as B- or I-" in told


@pytest.mark.parametrize(
    ("tags", "given", "found"),
    [
        ("B I O B", (), "IOB2, found from the tags"),
        ("I I O I", (), "IOB1, found from the tags"),
        ("B L O U", (), "IOBES, found from the tags"),
        ("B I O B", ("--predictions_format.scheme", "IOB2"), "IOB2, as given"),
    ],
)
def test_the_report_names_the_schemes_that_tags_were_read_by(
    tags: str, given: tuple[str, ...], found: str, tmp_path: Path
) -> None:
    """Whatever scheme either side is written in, the same entities are the same."""
    for name, marks in (("gold", "B I O B"), ("said", tags)):
        told = zip(("chest", "pain", "and", "fever"), marks.split(), strict=True)
        lines = "".join(f"{word} {mark}{'' if mark == 'O' else '-A'}\n" for word, mark in told)
        (tmp_path / f"{name}.conll").write_text(lines, encoding="utf-8")
    words = ("--data.test", tmp_path / "gold.conll", "--data.format", "conll", "--predictions", tmp_path / "said.conll")
    assert clinnlp("evaluate", *words, "--predictions_format", "conll", *given, "--out", tmp_path / "out") == 0
    assert read_json(tmp_path / "out" / "metrics.json")["entity"]["strict"]["micro"]["f1"] == 1.0
    text = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert f"\nGold tag scheme: IOB2, found from the tags.\nPredicted tag scheme: {found}.\n" in text
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f'<th scope="row">predicted tag scheme</th><td>{found}</td>' in page


def test_with_the_training_notes_seen_and_unseen_forms_are_told_apart(tmp_path: Path, corpus: Path) -> None:
    gold = notes(40, "test")
    said = [note | {"spans": note["spans"][: n % 2 + 1]} for n, note in enumerate(gold)]
    for name, records in (("gold", gold), ("said", said), ("train", notes(2, "train"))):
        write_jsonl(tmp_path / f"{name}.jsonl", records)
    words = ("--data.test", tmp_path / "gold.jsonl", "--predictions", tmp_path / "said.jsonl", "--task", "ner")
    assert clinnlp("evaluate", *words, "--out", tmp_path / "alone") == 0
    assert clinnlp("evaluate", *words, "--data.train", tmp_path / "train.jsonl", "--out", tmp_path / "both") == 0
    alone, both = (read_json(tmp_path / name / "metrics.json")["errors"]["entity"]["slices"]["by"] for name in
                   ("alone", "both"))  # fmt: skip
    assert set(both) - set(alone) == {"surface form", "training count"}
    assert set(both["surface form"]) == {"seen", "unseen"}


def test_labels_that_differ_in_their_spelling_alone_are_named(tmp_path: Path) -> None:
    labels = ("caf\u00e9", "cafe\u0301", "DRUG", "Drug ", "PROBLEM", "")
    spans = [{"start": n, "end": n + 1, "label": label} for n, label in enumerate(labels)]
    gold = [{"id": str(n), "text": "abcdef", "group": str(n), "spans": spans} for n in range(2)]
    path = write_jsonl(tmp_path / "gold.jsonl", gold)
    assert clinnlp("evaluate", "--data.test", path, "--predictions", path, "--out", tmp_path / "out") == 0
    notices = read_json(tmp_path / "out" / "metrics.json")["notices"]
    told = "labels that differ in their spelling alone are counted apart: "
    assert notices == [f"{told}'DRUG', 'Drug '", f"{told}'cafe\\u0301', 'caf\\xe9'"]
    text = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert "\n          ''     1.0000 " in text, "a label without a name is seen"


@pytest.mark.parametrize("score", [7.5, -2])
def test_scores_that_are_no_probabilities_have_no_diagram(score: float, tmp_path: Path) -> None:
    gold = notes(6, "test")
    said = [note | {"spans": [span | {"score": score} for span in note["spans"]]} for note in gold]
    for name, records in (("gold", gold), ("said", said)):
        write_jsonl(tmp_path / f"{name}.jsonl", records)
    words = ("--data.test", tmp_path / "gold.jsonl", "--predictions", tmp_path / "said.jsonl", "--task", "ner")
    assert clinnlp("evaluate", *words, "--out", tmp_path / "out") == 0
    assert "calibration" not in read_json(tmp_path / "out" / "metrics.json")
