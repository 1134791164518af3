"""Fine-tuning from notes to a model folder, and what the run leaves behind."""

import json
import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import clinnlp
from clinnlp.recipes._history import OPENED
from tests.recipes.command import FAST, notes, read_json, write_jsonl
from tests.recipes.command import clinnlp as command


def manifest_facts(run: Path) -> dict[str, object]:
    return read_json(run / "manifest.json")["facts"]


def test_a_run_leaves_what_the_design_says(ner_run: Path) -> None:
    left = {path.name for path in ner_run.iterdir()} - {OPENED}  # other tests score this model as well
    assert left == {
        "settings.yaml", "manifest.json", "metrics.json", "report.txt", "report.html", "model", "predictions.jsonl",
        "alignment.json", "training.json", "trained_texts.json",
    }  # fmt: skip
    model = {path.name for path in (ner_run / "model").iterdir()}
    assert {
        "config.json",
        "adapter_config.json",
        "adapter_model.safetensors",
        "clinnlp.json",
        "tokenizer.json",
    } <= model
    assert stat.S_IMODE(ner_run.stat().st_mode) == 0o700
    private = [path for path in ner_run.rglob("*") if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert private == []


def test_the_manifest_says_how_it_was_made(ner_run: Path) -> None:
    manifest = read_json(ner_run / "manifest.json")
    assert manifest["status"] == "done"
    assert manifest["verb"] == "finetune"
    assert manifest["seed"] == 1
    assert set(manifest["data_sha256"]) == {"train", "dev", "test"}
    assert len(manifest["weights_sha256"]["base"]) == 64
    assert manifest["facts"]["reload_difference"] <= 1e-5
    assert manifest["facts"]["test notes"] == 12
    assert 0 < manifest["facts"]["trained weights"] < manifest["facts"]["weights"], "LoRA trains a part of them"


def test_settings_start_the_same_run_again(ner_run: Path) -> None:
    from clinnlp import config
    from clinnlp.recipes.finetune import Finetune

    again = config.build(Finetune, config.load_yaml(ner_run / "settings.yaml"))
    assert config.fingerprint(again) == read_json(ner_run / "manifest.json")["fingerprint"]


def test_metrics_of_entities_have_the_names_scripts_rely_on(ner_run: Path) -> None:
    strict = read_json(ner_run / "metrics.json")["entity"]["strict"]
    assert {"precision", "recall", "f1", "tp", "fp", "fn"} <= strict["micro"].keys()
    assert strict["micro"]["tp"] + strict["micro"]["fn"] == 24, "two entities in each of the 12 test notes"
    assert "f1" in strict["macro"]
    assert {name: row["support"] for name, row in strict["per_label"].items()} == {"DRUG": 12, "PROBLEM": 12}
    assert strict["micro"]["f1"] > 0.5, "it learned nothing"


def test_alignment_is_stored(ner_run: Path) -> None:
    drug = read_json(ner_run / "alignment.json")["train"]["DRUG"]
    assert drug == {"exact": 40, "snapped": 0, "unrepresentable": {}, "total": 40}


def test_metrics_of_notes_have_the_names_scripts_rely_on(type_run: Path) -> None:
    notes_ = read_json(type_run / "metrics.json")["notes"]
    assert notes_["accuracy"] > 0.7, "it learned nothing"
    assert "f1" in notes_["micro"]
    assert "f1" in notes_["macro"]
    assert notes_["per_label"].keys() == {"plan", "visit"}
    assert read_json(type_run / "model" / "clinnlp.json")["task"]["multi_label"] is False
    assert (type_run / "model" / "model.safetensors").exists()


def test_multi_label_is_found_in_the_data_and_its_threshold_on_dev(labels_run: Path) -> None:
    card = read_json(labels_run / "model" / "clinnlp.json")
    assert card["task"]["multi_label"] is True
    assert card["task"]["threshold"] != 0.5
    assert card["labels"] == ["aspirin", "fever"]
    assert read_json(labels_run / "metrics.json")["notes"]["micro"]["f1"] > 0.6, "it learned nothing"


def test_a_model_is_a_function(ner_run: Path, type_run: Path) -> None:
    predictor = clinnlp.load(ner_run / "model")
    assert predictor.labels == ("DRUG", "PROBLEM")
    text = "Plan: started on aspirin for fever\r\nfollow up in 2 weeks"
    one, two = predictor([text, ""])
    assert (one.text, two.text, two.spans) == (text, "", ())
    assert predictor(text).spans == one.spans
    assert {text[s.start : s.end] for s in one.spans} & {"aspirin", "fever"}
    assert len(clinnlp.load(type_run / "model")(text).labels) == 1
    note = clinnlp.Document("n-7", text, (clinnlp.Span(0, 4, "DRUG"),), group="p-1")
    said = predictor(note)
    assert (said.id, said.text, said.group, said.spans) == ("n-7", text, "p-1", one.spans)
    assert predictor(iter([note, text])) == [said, replace(one, id="1")]
    assert predictor([]) == []


@pytest.mark.parametrize(
    ("notes", "told"),
    [
        ("fever \ud800", "lone surrogate at character 6"),
        (["fever", float("nan")], "note 1 is neither a text nor a document: float"),
        ([None], "note 0 is neither a text nor a document: NoneType. Next: leave out notes without text"),
        (None, "note 0 is neither a text nor a document: NoneType"),
        (3, "note 0 is neither a text nor a document: int"),
    ],
)
def test_what_is_no_note_is_named_by_its_place(ner_run: Path, notes: Any, told: str) -> None:
    with pytest.raises(clinnlp.ClinnlpError, match=told):
        clinnlp.load(ner_run / "model")(notes)


def test_predictions_are_the_test_notes_with_scores(ner_run: Path, corpus: Path) -> None:
    gold = list(clinnlp.read(corpus / "test.jsonl", "jsonl"))
    predicted = list(clinnlp.read(ner_run / "predictions.jsonl", "jsonl"))
    assert [(d.id, d.text) for d in predicted] == [(d.id, d.text) for d in gold]
    report = clinnlp.evaluate(gold, predicted, task="ner").as_dict()
    assert report["entity"]["strict"] == read_json(ner_run / "metrics.json")["entity"]["strict"]


def test_no_note_text_in_what_is_made_to_be_shown(ner_run: Path) -> None:
    shown = ("manifest.json", "metrics.json", "report.txt", "report.html", "alignment.json", "settings.yaml")
    for name in shown:
        assert "follow up in 2" not in (ner_run / name).read_text(encoding="utf-8"), name


def test_a_split_by_group_where_no_files_are_named(tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_jsonl(tmp_path / "all.jsonl", notes(40, "all"))
    words = ("--data.train", path, "--data.dev_share", 0.2, "--data.test_share", 0.2, "--fit.max_steps", 1)
    assert command("finetune", "--base", tiny("electra"), *words, *FAST, "--out", tmp_path / "run") == 0
    facts = manifest_facts(tmp_path / "run")
    assert (facts["train notes"], facts["dev notes"], facts["test notes"]) == (24, 8, 8)
    groups = [json.loads(line)["group"] for line in (tmp_path / "run" / "predictions.jsonl").open()]
    assert len(set(groups)) == 4, "both notes of each patient"


def test_a_patient_in_two_splits_is_refused(
    tiny, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = corpus / "train.jsonl"
    words = ("--base", tiny("bert"), "--data.train", path, "--data.dev", path, "--out", tmp_path / "run")
    assert command("finetune", *words) == 4
    assert capsys.readouterr().err.strip() == (
        "clinnlp: error[CLN-L4] data.dev: groups (patients) in both train and dev: 20. Kept: nothing was written. "
        "Next: split by group (finetune does, with --data.dev_share), or --data.allow groups: the report then says so "
        "on top."
    )


def test_the_same_seed_gives_the_same_model(tiny, corpus: Path, tmp_path: Path) -> None:
    from clinnlp.models.folder import weights_sha256

    hashes = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        words = ("--base", tiny("bert"), "--data.train", corpus / "train.jsonl", "--fit.max_steps", 3, "--seed", seed)
        assert command("finetune", *words, *FAST, "--out", tmp_path / name) == 0
        hashes.append(weights_sha256(tmp_path / name / "model"))
    assert hashes[0] == hashes[1] != hashes[2]


def test_without_dev_and_test_there_is_a_model_and_no_score(
    tiny, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--base", tiny("bert"), "--data.train", corpus / "train.jsonl", "--fit.max_steps", 1)
    assert command("finetune", *words, *FAST, "--out", tmp_path / "run") == 0
    assert "warning: neither dev nor test notes: the model is saved without a score" in capsys.readouterr().err
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("strategy", "file"), [("ia3", "adapter_model.safetensors"), ("gradual_unfreeze", "model.safetensors")]
)
def test_what_moves_is_told_before_and_saved_after(
    strategy: str, file: str, tiny, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--base", tiny("bert"), "--data.train", corpus / "train.jsonl", "--strategy", strategy)
    assert command("finetune", *words, *FAST, "--fit.max_steps", 4, "--out", tmp_path / "run") == 0
    told = capsys.readouterr().err
    assert re.search(r"what moves:\n +weights +trained +of +peak rate +from\n +head +165 +165 ", told)
    assert told.index("what moves:") < told.index("step 1 of 4")
    assert (tmp_path / "run" / "model" / file).exists()
    assert manifest_facts(tmp_path / "run")["reload_difference"] <= 1e-5


def test_a_strategy_that_the_base_cannot_follow_is_refused(
    tiny, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--base", tiny("bert"), "--data.train", corpus / "train.jsonl", "--strategy", "lora")
    assert command("finetune", *words, "--strategy.layers", 9, *FAST, "--out", tmp_path / "run") == 2
    told = capsys.readouterr().err
    assert "strategy.layers: the base has 2 layers, not 9. Kept: nothing was written. Next: choose 1 to 2" in told
