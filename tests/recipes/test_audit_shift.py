"""`clinnlp audit shift`: what is told of two sets of notes, without a model, with a base and with a fine-tuned one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.command import clinnlp, notes, read_json, write_jsonl

Tiny = Callable[[str], Path]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Source notes, and target notes of other words."""
    folder = tmp_path_factory.mktemp("pair")
    source = write_jsonl(folder / "source.jsonl", notes(30, "source"))
    moved = [{**note, "text": note["text"].replace("follow up in 2 weeks", "seen")} for note in notes(24, "target")]
    return source, write_jsonl(folder / "target.jsonl", moved)


def found(out: Path) -> dict[str, Any]:
    made: dict[str, Any] = read_json(out / "metrics.json")["shift"]
    return made


def test_without_a_model(pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert clinnlp("audit", "shift", *pair, "--out", out) == 0
    facts = found(out)
    assert facts["notes"] == {"source": 30, "target": 24, "units": 27, "unit": "group"}
    assert facts["words"]["auc"] > 0.95 and facts["words"]["proxy_a_distance"]["interval"]["low"] > 1
    assert facts["words"]["mmd"]["p"] < 0.01
    assert facts["gold_spans"]["distance"]["value"] == 0, "each note has one DRUG and one PROBLEM"
    assert facts["gold_labels"].keys() == {"distance", "shares"}
    report = (out / "report.txt").read_text(encoding="utf-8")
    assert report in capsys.readouterr().out
    assert "- SOURCE AND TARGET ARE TOLD APART by words: proxy A-distance " in report
    assert "- 27 groups only: intervals of so few are too narrow" in report
    assert "Error on the source: not measured; give --model FOLDER and labeled source notes" in report
    assert "What cannot be seen without labels of the target: whether the same words mean the same class" in report
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Half the divergence" in page and "<script" not in page
    manifest = read_json(out / "manifest.json")
    assert (manifest["verb"], manifest["status"]) == ("audit shift", "done")
    assert manifest["data_sha256"].keys() == {"source", "target"}
    assert "follow up in 2" not in report + page


def test_the_same_notes_are_not_told_apart(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert clinnlp("audit", "shift", pair[0], pair[0], "--out", tmp_path / name) == 0
    facts = found(tmp_path / "one")
    assert facts == found(tmp_path / "two"), "the same figures at every run"
    assert facts["words"]["proxy_a_distance"]["value"] == pytest.approx(0, abs=1e-9)
    assert facts["vocabulary"]["unseen"]["value"] == 0 and facts["length"]["ratio"]["value"] == 1
    report = (tmp_path / "one" / "report.txt").read_text(encoding="utf-8")
    assert "- source and target are not told apart by words" in report
    chance = f"{facts['gold_labels']['distance']['chance']:.1%}"
    assert f"- shares of gold labels differ by 0.0%, no more than chance makes (up to {chance})" in report
    assert "A distance over it is more than chance. It has no interval" in " ".join(report.split())


def test_with_a_masked_lm(pair: tuple[Path, Path], tiny: Tiny, tmp_path: Path) -> None:
    words = ("--model", tiny("bert"), "--block", 32)
    assert clinnlp("audit", "shift", *pair, *words, "--out", tmp_path / "out") == 0
    facts = found(tmp_path / "out")["model"]
    assert facts["vectors"]["auc"] > 0.9
    perplexity = facts["perplexity"]
    assert perplexity["ratio"]["value"] == pytest.approx(perplexity["target"]["value"] / perplexity["source"]["value"])
    assert (
        perplexity["ratio"]["interval"]["low"] < perplexity["ratio"]["value"] < perplexity["ratio"]["interval"]["high"]
    )
    report = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert "Perplexity of the masked LM" in report and "by the proxy A-distance on vectors of the model" in report


def test_with_a_fine_tuned_model(pair: tuple[Path, Path], type_run: Path, ner_run: Path, tmp_path: Path) -> None:
    words = ("--model", type_run / "model", "--labels_field", "note_type", "--out", tmp_path / "types")
    assert clinnlp("audit", "shift", *pair, *words) == 0
    said = found(tmp_path / "types")["model"]["predictions"]
    assert said["kind"] == "labels" and said["shift"]["shares"].keys() <= {"plan", "visit"}
    assert 0 <= said["source_risk"]["value"] < 0.4 and said["source_risk"]["interval"]["low"] >= 0
    shares = {name: one["value"] for name, one in said["estimated"]["shares"].items()}
    assert sum(shares.values()) == pytest.approx(1)
    true = found(tmp_path / "types")["gold_labels"]["shares"]
    assert shares["plan"] == pytest.approx(true["plan"]["target"]["value"], abs=0.35)
    report = (tmp_path / "types" / "report.txt").read_text(encoding="utf-8")
    assert "Classes of the target, estimated (BBSE)" in report
    assert "(1 - notes.micro.f1 of the model on the source notes)" in report

    assert clinnlp("audit", "shift", *pair, "--model", ner_run / "model", "--out", tmp_path / "ner") == 0
    said = found(tmp_path / "ner")["model"]["predictions"]
    assert said["kind"] == "spans" and said["estimated"] is None and 0 <= said["source_risk"]["value"] < 1


def test_what_is_left_out_is_counted_and_no_text_is_told(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = [{**note, "id": f"Qvortrup{note['id']}", "group": "Qvortrup" + note["group"]} for note in notes(20, "s")]
    odd = [{"id": "Qvortrup", "text": " "}, {"id": "Qvortrup", "text": None}]
    path = write_jsonl(
        tmp_path / "s.jsonl", [*odd, *({**n, "text": f"Qvortrup {n['text']}", "spans": []} for n in secret)]
    )
    assert clinnlp("audit", "shift", path, pair[1], "--notes", 12, "--out", tmp_path / "out") == 3
    assert found(tmp_path / "out")["left_out"] == {
        "empty source": 1, "unreadable source": 1, "not drawn source": 8, "not drawn target": 12,
    }  # fmt: skip
    told = [file.read_text(encoding="utf-8") for file in (tmp_path / "out").iterdir() if file.name != ".lock"]
    assert not any("Qvortrup" in text for text in (*told, *capsys.readouterr()))


def test_notes_that_were_left_out_are_told_where_too_few_are_left(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = [{"id": f"{n}", "text": None} for n in range(12)] + [{"id": f"e{n}", "text": " "} for n in range(3)]
    target = write_jsonl(tmp_path / "bad.jsonl", bad)
    assert clinnlp("audit", "shift", pair[0], target, "--out", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert "are needed; left out: 12 unreadable target, 3 empty target. " in told
    assert "set aside: bad.jsonl line 1: " in told and "12 records were set aside" in told


def test_bad_settings_are_told(pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = write_jsonl(tmp_path / "few.jsonl", notes(4, "few"))
    assert clinnlp("audit", "shift", pair[0], few, "--out", tmp_path / "out") == 2
    assert "target: 4 notes of 2 groups (patients), and 10 notes of two groups are needed." in capsys.readouterr().err
    assert clinnlp("audit", "shift", *pair, "--notes", 5, "--out", tmp_path / "out") == 2
    assert "notes: must be 10 or more." in capsys.readouterr().err
    assert clinnlp("audit", "shift", *pair, "--model", tmp_path / "none", "--out", tmp_path / "out") == 2
    assert "none" in capsys.readouterr().err
