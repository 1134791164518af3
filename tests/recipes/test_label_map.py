"""Other names for labels and attribute classes: what they reach, and what is said of one that no note holds."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clinnlp import config
from clinnlp.core.document import Document, Span
from clinnlp.errors import ConfigError, DataError
from clinnlp.recipes._data import DataSettings, TrainingData, load_documents, load_splits, with_names
from clinnlp.recipes._label_map import flag_of, unheld
from tests.recipes.command import FAST, clinnlp, notes, read_json, write_jsonl

Tiny = Callable[[str], Path]
FEW = (*FAST, "--fit.max_steps", 2, "--fit.evaluations", 1)


def with_attributes(note: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    drug, problem = note["spans"]
    return note | {"spans": [drug, problem | {"attributes": given}]}


def attributes(given: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    document = Document("1", "no fever", (Span(3, 8, "PROBLEM", attributes=given),))
    return dict(with_names(document, names).spans[0].attributes)


@pytest.mark.parametrize(
    ("given", "names", "wanted"),
    [
        ({"certainty": "probable"}, {"certainty=probable": "certainty=possible"}, {"certainty": "possible"}),
        ({"negated": True, "window": 1}, {"negated=true": "polarity=NEG"}, {"window": 1, "polarity": "NEG"}),
        ({"polarity": "NEG"}, {"polarity=NEG": "negated=true"}, {"negated": True}),
        ({"polarity": "POS"}, {"polarity=POS": "polarity=none"}, {}),
        ({"level": 3}, {"level=3": "level=high"}, {"level": "high"}),
        ({"a": "x", "b": "y"}, {"a=x": "b=y"}, {"b": "y"}),
        ({"negated": False}, {"negated=true": "polarity=NEG"}, {"negated": False}),
        ({"a": "x", "b": "y"}, {"a=x": "b=x", "b=y": "a=y"}, {"b": "x", "a": "y"}),
    ],
)
def test_classes_of_attributes_have_other_names(
    given: dict[str, Any], names: dict[str, str], wanted: dict[str, Any]
) -> None:
    assert attributes(given, names) == wanted


def test_names_that_cannot_be_given_to_attributes() -> None:
    with pytest.raises(ConfigError) as error:
        attributes({"negated": True}, {"negated=true": "NEG"})
    assert error.value.where == "data.label_map.negated=true" and error.value.next == "give NAME=CLASS for it"
    with pytest.raises(DataError, match="a span has two classes of 'b' then"):
        attributes({"a": "x", "b": "y"}, {"a=x": "b=x"})


def test_an_unknown_class_is_given_its_name_as_the_message_says(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = [with_attributes(note, {"certainty": "possible"} if n % 2 else {}) for n, note in enumerate(notes(12, "t"))]
    dev = [with_attributes(note, {"probably": True} if n % 2 else {}) for n, note in enumerate(notes(6, "d"))]
    data = ("--data.train", write_jsonl(tmp_path / "t.jsonl", train), "--data.dev", tmp_path / "d.jsonl")
    write_jsonl(tmp_path / "d.jsonl", [with_attributes(note, {"certainty": "probable"}) for note in dev[:1]] + dev[1:])
    words = ("finetune", "--base", tiny("bert"), "--task", "span_attributes", *data, *FEW)
    assert clinnlp(*words, "--out", tmp_path / "refused") == 2
    told = capsys.readouterr().err
    assert "data.dev: labels that the training data lacks: 'certainty=probable' (1)" in told
    assert "(--data.label_map '{NAME=CLASS: NAME=CLASS}')" in told
    names = "{certainty=probable: certainty=possible, probably=true: certainty=possible}"
    assert clinnlp(*words, "--data.label_map", names, "--out", tmp_path / "run") == 0
    gold = read_json(tmp_path / "run" / "metrics.json")["entity"]["strict"]["per_label"]["certainty=possible"]
    assert gold["tp"] + gold["fn"] == 4, "one of another class and three of another attribute"


def test_flags_that_the_command_line_reads() -> None:
    assert flag_of("Disease", "DISEASE") == "--data.label_map.Disease DISEASE"
    assert flag_of("a=b", "c") == "--data.label_map '{a=b: c}'"
    assert flag_of("R50.9", "c") == "--data.label_map '{R50.9: c}'"


def test_a_name_that_no_note_holds_is_refused(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = write_jsonl(tmp_path / "t.jsonl", notes(8, "t"))
    words = ("--base", tiny("bert"), "--data.train", train, *FEW, "--out", tmp_path / "run")
    assert clinnlp("finetune", *words, "--data.label_map.PROBLEMS", "DISEASE") == 2
    told = capsys.readouterr().err
    assert "error[CLN-C2] data.label_map.PROBLEMS: no note that is read holds this label." in told
    assert "Next: did you mean 'PROBLEM'? If not, leave it out." in told
    assert clinnlp("crossvalidate", *words, "--data.label_map.PROBLEMS", "DISEASE", "--folds.count", 2) == 2
    assert "data.label_map.PROBLEMS: no note that is read holds this label." in capsys.readouterr().err
    error = unheld({"q=w": "x"}, {"DRUG", "negated=true"})
    assert error is not None and error.next == "leave it out; there are negated=true"


def test_a_name_that_any_of_the_files_holds_is_taken(tmp_path: Path) -> None:
    """Each file has a label of its own; what reads one of them alone does not refuse the names of the others."""
    paths = {}
    for name in ("train", "dev", "test", "target_labeled"):
        marked = [{**note, "labels": [f"of {name}"]} for note in notes(4, name)]
        paths[name] = str(write_jsonl(tmp_path / f"{name}.jsonl", marked))
    data = TrainingData(**paths, label_map={f"of {name}": "x" for name in paths})  # type: ignore[arg-type]
    splits = load_splits(data)
    assert {label for d in (*splits.train, *splits.test, *splits.target_labeled) for label in d.labels} == {"x"}
    assert load_documents(paths["test"], data, [])[0].labels == ("x",)
    with pytest.raises(ConfigError, match=r"data\.label_map\.of all: no note that is read holds this label"):
        load_splits(dataclasses.replace(data, label_map={"of all": "x"}))


def test_a_part_where_labels_may_be_missed_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = str(write_jsonl(tmp_path / "t.jsonl", notes(4, "t")))
    data = DataSettings(test=path, label_map={"PROBLEMS": "x"}, unknown_labels="miss")
    assert len(load_documents(path, data, [])) == 4
    assert "data.label_map.PROBLEMS: no note that is read holds this label" in caplog.text
    with pytest.raises(ConfigError, match="no note that is read holds this label"):
        load_documents(path, dataclasses.replace(data, unknown_labels="refuse"), [])


def test_notes_without_an_annotation_file_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.txt").write_text("fever")
    (tmp_path / "a.ann").write_text("T1\tX 0 5\tfever\n")
    (tmp_path / "b.txt").write_text("cough")
    data = config.build(TrainingData, {"train": str(tmp_path), "format": "brat"})
    assert len(load_splits(data).train) == 2
    assert "train: 1 of 2 notes have no file of annotations: read as without a span" in caplog.text
