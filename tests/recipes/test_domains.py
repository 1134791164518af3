"""Fine-tuning for a target: what it refuses, what labeled target notes do, and what the report tells."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.command import FAST, clinnlp, notes, read_json, write_jsonl

Tiny = Callable[[str], Path]
FEW = (*FAST, "--fit.max_steps", 2, "--fit.evaluations", 1)


@pytest.fixture
def words(tiny: Tiny, corpus: Path) -> list[object]:
    """A fine-tuning of the corpus with a target, without --out and domain."""
    parts = ("train", "dev", "test", "target")
    data = [word for name in parts for word in (f"--data.{name}", corpus / f"{name}.jsonl")]
    return ["finetune", "--base", tiny("bert"), *data, *FEW]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            (),
            "data.target: no method uses the notes of the target. Kept: nothing was written. Next: choose one, as "
            "--domain reweight (clinnlp list domains), or leave data.target out.",
        ),
        (
            ("--domain", "dann", "--strategy", "top_layers"),
            "strategy.cache: dann reads target notes in every step, and the lower layers are computed for source notes "
            "alone. Next: use --strategy.cache false.",
        ),
        (
            ("--domain", "subspace", "--data.target_labeled", "FEW"),
            "data.target_labeled: subspace maps all training notes as notes of the source. Next: choose --domain "
            "reweight, dann, mmd or coral with use: loss.",
        ),
        (
            ("--domain", "dan"),
            "domain: 'dan' is not one of the domains. Next: Did you mean 'dann'?",
        ),
        (
            ("--domain", "subspace"),
            "domain: subspace maps the features of a frozen encoder once, and this strategy moves it.",
        ),
        (
            ("--domain", "coral", "--domain.use", "features"),
            "Next: choose --strategy feature_extractor, or --domain.use loss.",
        ),
        (("--domain", "mmd", "--data.target_weight", 0), "data.target_weight: must be over 0."),
    ],
)
def test_settings_that_do_not_go_together(
    words: list[object], given: tuple[object, ...], told: str, corpus: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    named = [corpus / "dev.jsonl" if word == "FEW" else word for word in given]
    assert clinnlp(*words, *named, "--out", tmp_path / "run") == 2
    assert told.replace(" Kept: nothing was written.", "") in capsys.readouterr().err.replace(
        " Kept: nothing was written.", ""
    )


def test_a_loss_that_compares_batches_is_for_one_process(
    words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert clinnlp(*words, "--domain", "dann", "--out", tmp_path / "run") == 2
    assert "domain: dann compares both sides in the batch of one process. " in capsys.readouterr().err


def test_a_domain_needs_a_target(tiny: Tiny, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--base", tiny("bert"), "--data.train", corpus / "train.jsonl", "--domain", "mmd")
    assert clinnlp("finetune", *words, "--out", tmp_path / "run") == 2
    told = "domain: mmd needs notes of the target, which take no labels. Next: give --data.target PATH."
    assert told in capsys.readouterr().err


def test_test_notes_are_no_target_unless_that_is_allowed_and_told(
    words: list[object], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words[words.index("--data.target") + 1] = corpus / "test.jsonl"
    assert clinnlp(*words, "--domain", "mmd", "--out", tmp_path / "run") == 4
    told = capsys.readouterr().err
    assert "error[CLN-L4] data.target: groups (patients) in both target and test: 6: the model would adapt to" in told
    assert "Next: give other notes of the target, or --data.allow transductive: the report then says so on top." in told
    assert clinnlp(*words, "--domain", "mmd", "--data.allow", "transductive", "--out", tmp_path / "run") == 0
    report = (tmp_path / "run" / "report.txt").read_text(encoding="utf-8")
    assert "waived: transductive: groups (patients) in both target and test: 6" in report
    assert "waived: transductive: notes of test that are notes of target, id and text: 12" in report


def labeled(path: Path, rename: dict[str, str]) -> Path:
    """Four labeled notes of the target, whose labels have other names."""
    made = notes(4, "labeled")
    for note in made:
        note["spans"] = [{**span, "label": rename.get(span["label"], span["label"])} for span in note["spans"]]
    return write_jsonl(path, made)


def test_labels_that_source_and_target_do_not_share_need_a_map(
    words: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = labeled(tmp_path / "labeled.jsonl", {"DRUG": "Medication"})
    words += ["--domain", "mmd", "--data.target_labeled", path]
    assert clinnlp(*words, "--out", tmp_path / "run") == 2
    told = capsys.readouterr().err
    assert (
        "data.target_labeled: labels of the target that the source lacks: 'Medication'; it has DRUG, PROBLEM." in told
    )
    assert "Next: name what they are there, as --data.label_map.Medication DRUG." in told
    assert clinnlp(*words, "--data.label_map.Medication", "DRUG", "--out", tmp_path / "run") == 0
    facts = read_json(tmp_path / "run" / "manifest.json")["facts"]
    assert (facts["labeled target notes"], facts["target notes"]) == (4, 20)
    assert read_json(tmp_path / "run" / "model" / "clinnlp.json")["labels"] == ["DRUG", "PROBLEM"]
    report = (tmp_path / "run" / "report.txt").read_text(encoding="utf-8")
    assert "note: trained on labeled notes of the target too: 4" in report


def test_a_few_labeled_notes_of_the_target_need_no_method(tiny: Tiny, corpus: Path, tmp_path: Path) -> None:
    path = labeled(tmp_path / "labeled.jsonl", {})
    data = ("--data.train", corpus / "train.jsonl", "--data.target_labeled", path, "--data.target_weight", 5)
    assert clinnlp("finetune", "--base", tiny("bert"), *data, *FEW, "--out", tmp_path / "run") == 0
    drug = read_json(tmp_path / "run" / "alignment.json")["train"]["DRUG"]
    assert drug["total"] == 44, "40 of the source and 4 of the target"
    assert read_json(tmp_path / "run" / "manifest.json")["data_sha256"].keys() == {"train", "target_labeled"}


def test_labels_of_the_target_are_not_read(words: list[object], corpus: Path, tmp_path: Path) -> None:
    """The target's file with other labels leads to the same weights, to the bit."""
    other = [{**note, "spans": [], "labels": ["nonsense"]} for note in notes(20, "target")]
    runs: dict[str, Any] = {}
    for name, path in (("as it is", corpus / "target.jsonl"), ("other", write_jsonl(tmp_path / "t.jsonl", other))):
        words[words.index("--data.target") + 1] = path
        out = tmp_path / name
        assert clinnlp(*words, "--domain", "dann", "--strategy", "full", "--out", out) == 0
        runs[name] = (out / "model" / "model.safetensors").read_bytes()
    assert runs["as it is"] == runs["other"]


def test_the_target_changes_what_is_learned(words: list[object], tmp_path: Path) -> None:
    """Without this, a loss that reaches no weight would pass the other tests."""
    found = []
    for weight in (1e-9, 10.0):
        out = tmp_path / str(weight)
        assert clinnlp(*words, "--domain", "mmd", "--domain.weight", weight, "--strategy", "full", "--out", out) == 0
        found.append((out / "model" / "model.safetensors").read_bytes())
    assert found[0] != found[1]


def test_empty_notes_of_the_target_are_left_out_and_told(
    words: list[object], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blank = [{"id": f"blank-{n}", "text": " \n" * n} for n in range(4)]
    mixed = write_jsonl(tmp_path / "mixed.jsonl", [*blank, *notes(20, "target")])
    plain = list(words)
    words[words.index("--data.target") + 1] = mixed
    assert clinnlp(*words, "--domain", "reweight", "--out", tmp_path / "mixed") == 0
    assert "4 of 24 target notes are empty and are left out" in capsys.readouterr().err
    facts = read_json(tmp_path / "mixed" / "manifest.json")["facts"]
    assert (facts["target notes"], facts["empty target notes"]) == (20, 4)
    report = (tmp_path / "mixed" / "report.txt").read_text(encoding="utf-8")
    assert "unlabeled notes of the target: 20, " in report and "4 of 24 target notes are empty" in report
    assert clinnlp(*plain, "--domain", "reweight", "--out", tmp_path / "plain") == 0
    said = [(tmp_path / name / "predictions.jsonl").read_bytes() for name in ("mixed", "plain")]
    assert said[0] == said[1], "as if they had not been there"


@pytest.mark.parametrize("domain", ["reweight", "coral"])
def test_a_target_of_empty_notes_alone_is_refused(
    domain: str, words: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blank = write_jsonl(tmp_path / "blank.jsonl", [{"id": f"{n}", "text": " " * (n + 1)} for n in range(20)])
    words[words.index("--data.target") + 1] = blank
    assert clinnlp(*words, "--domain", domain, "--out", tmp_path / "run") == 2
    assert "error[CLN-D2] data.target: all 20 target notes are empty. " in capsys.readouterr().err


def test_cross_validation_adapts_in_every_fold(tiny: Tiny, corpus: Path, tmp_path: Path) -> None:
    data = ("--data.train", corpus / "train.jsonl", "--data.target", corpus / "target.jsonl", "--domain", "reweight")
    words = ("--base", tiny("bert"), *data, *FEW, "--folds.count", 2, "--out", tmp_path / "run")
    assert clinnlp("crossvalidate", *words) == 0
    for fold in ("fold-1", "fold-2"):
        assert read_json(tmp_path / "run" / fold / "manifest.json")["facts"]["target notes"] == 20
    assert read_json(tmp_path / "run" / "manifest.json")["data_sha256"].keys() == {"train", "target"}


def test_what_a_model_adapted_to_is_remembered(words: list[object], tmp_path: Path) -> None:
    """Scored later on the long texts that it adapted to, it says so."""
    long = [{**note, "text": note["text"] + " and so on" * 30, "group": None} for note in notes(20, "long")]
    path = write_jsonl(tmp_path / "long.jsonl", long)
    words[words.index("--data.target") + 1] = path
    assert clinnlp(*words, "--domain", "mmd", "--out", tmp_path / "run") == 0
    model = ("--model", tmp_path / "run" / "model", "--data.test", path, "--out", tmp_path / "scored")
    assert clinnlp("evaluate", *model) == 4
    assert clinnlp("evaluate", *model, "--data.allow", "pretraining") == 0
