"""Labeling with the engine that is fastest on the user's own notes: chosen once, kept by the run."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import clinnlp
from clinnlp.engines.base import engine_named
from clinnlp.labeling import auto, choose
from clinnlp.labeling.choose import Trial
from clinnlp.labeling.model import ModelFolder
from tests.recipes.command import clinnlp as command
from tests.recipes.command import notes, read_json

HERE = ("--workers", 0)
Words = tuple[object, ...]
Counted = Callable[[], int]


@pytest.fixture
def words(ner_run: Path, corpus: Path) -> Words:
    """A label command without its --out."""
    given = ("--model", ner_run / "model", "--notes", corpus / "test.jsonl", "--shard_documents", 5)
    return ("label", *HERE, *given, "--engine", "auto")


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Let packed-fp32 win at once; tells how often engines were tried."""
    calls: list[int] = []

    def win(trained: Any, documents: Any, bound: Any) -> Any:
        calls.append(len(documents))
        return engine_named("packed-fp32"), [Trial("packed-fp32", "chosen", 9.0, 0.1, 1.0, len(documents))]

    monkeypatch.setattr(auto, "choose", win)
    return lambda: len(calls)


def test_it_is_chosen_shown_and_kept(
    words: Words, tried: Counted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command(*words, "--out", out) == 0
    told = capsys.readouterr().err
    assert "packed-fp32            9     0.1   100.00 %       12  chosen" in told
    packed = {"name": "packed", "precision": "fp32", "device": "cpu"}
    kept = read_json(out / "engine.json")
    assert kept["engine"] == packed and kept["bound"] == {"agreement": 0.99, "lost_points": 0.2}
    assert kept["trials"][0]["name"] == "packed-fp32"
    fingerprint = read_json(out / "run.json")["fingerprint"]
    assert fingerprint["engine"] == json.dumps(packed) and fingerprint["device"] == "cpu"
    assert "auto" not in str(fingerprint)
    assert read_json(out / "manifest.json")["settings"]["engine"] == packed
    assert command(*words[:-1], "packed-fp32", "--out", tmp_path / "named") == 0
    for name in ("spans", "documents"):
        one, other = (getattr(clinnlp.read_labels(place), name) for place in (out, tmp_path / "named"))
        assert one.equals(other)


def test_a_run_goes_on_with_its_engine_without_another_trial(words: Words, tried: Counted, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command(*words, "--out", out) == 0
    assert command(*words, "--out", out) == 0, "finished"
    for commit in (out / "commits").rglob("*1.json"):
        commit.unlink()
    (out / "manifest.json").unlink()
    assert command(*words, "--out", out) == 0, "stopped"
    assert command(*words[:-1], "packed-fp32", "--out", out) == 0, "its own engine, named"
    assert tried() == 1
    (out / "run.json").unlink()
    (out / "commits").rename(tmp_path / "gone")
    for name in ("spans", "documents", "counts.json", "manifest.json", "settings.yaml", "attempts", "claims"):
        (out / name).rename(tmp_path / name) if (out / name).exists() else None
    assert command(*words, "--out", out) == 0, "stopped between choice and record"
    assert tried() == 1


def test_a_run_that_was_begun_by_name_is_gone_on_with_by_auto(words: Words, tried: Counted, tmp_path: Path) -> None:
    assert command(*words[:-2], "--out", tmp_path / "out") == 0
    assert command(*words, "--out", tmp_path / "out") == 0
    assert tried() == 0


def test_of_two_that_choose_at_a_time_one_is_heeded(words: Words, tmp_path: Path, ner_run: Path) -> None:
    from clinnlp.labeling.agree import Bound
    from clinnlp.labeling.store import LocalStore

    store = LocalStore(tmp_path / "out")
    store.make()
    models = (ModelFolder(ner_run / "model"),)

    def another_is_faster() -> Any:
        store.put("engine.json", b'{"engine": {"name": "torch", "precision": "bf16"}}')
        return []

    assert auto.pin(store, models, another_is_faster, Bound())[0].engine == engine_named("torch-bf16")


def test_plan_tries_and_keeps_nothing(
    words: Words, tried: Counted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command(*words, "--plan", "true", "--out", out) == 0
    told = capsys.readouterr().err
    assert "packed-fp32" in told and "with 1 workers: about" in told and not out.exists()
    assert re.search(r"probe of 12 notes: [1-9]\d* tokens/s \([1-9]\d* characters/s\) and \d\.\d GB", told)
    assert command(*words, "--out", out) == 0
    assert command(*words, "--plan", "true", "--out", out) == 0
    assert tried() == 2, "the plan of a run that is there is of its engine"


def test_workers_run_the_chosen_engine_and_the_bound_is_the_users(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(choose, "CANDIDATES", ("packed-fp32",))
    monkeypatch.setattr(choose, "MARGIN", 1e-9)  # anything is faster
    monkeypatch.setattr(choose.choose, "__defaults__", (None, 30.0, ("packed-fp32",)))
    assert command(*words, "--workers", 1, "--out", tmp_path / "out") == 0
    assert read_json(tmp_path / "out" / "engine.json")["engine"]["name"] == "packed"
    assert command(*words, "--bound.agreement", 1.5, "--out", tmp_path / "b") == 2
    assert "bound.agreement: must be between 0 and 1" in capsys.readouterr().err


def test_the_model_as_a_function(ner_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(clinnlp.ClinnlpError) as error:
        clinnlp.load(ner_run / "model", engine="auto")
    assert str(error.value) == "engine: auto tries the engines on notes. Next: give some: notes=[text, ...]."
    monkeypatch.setattr(choose.choose, "__defaults__", (None, 30.0, ("packed-fp32",)))
    texts = [note["text"] for note in notes(12, "test")]
    chosen = clinnlp.load(ner_run / "model", engine="auto", notes=texts)
    assert [d.labels for d in chosen(texts)] == [d.labels for d in clinnlp.load(ner_run / "model")(texts)]


def test_the_version_of_the_engines_library_is_part_of_the_run(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from clinnlp.labeling import model

    out = tmp_path / "out"
    for name, library in (("torch", "torch"), ("openvino-int8", "openvino"), ("onnx-int8", "onnxruntime")):
        found = ModelFolder(Path(str(words[4])), engine=engine_named(name)).fingerprint()
        assert found[f"version.{library}"] and ("version.openvino" in found) == (library == "openvino")
    assert command(*words[:-1], "openvino", "--out", out) == 0
    real = model._version
    monkeypatch.setattr(model, "_version", lambda name: "2031.1" if name == "openvino" else real(name))
    assert command(*words[:-1], "openvino", "--out", out) == 4
    told = capsys.readouterr().err
    assert f"differs in version.openvino ({real('openvino')}, now 2031.1)" in told
    assert "Next: --allow_version_change true to go on" in told


def test_another_device_is_refused_and_may_be_allowed(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from clinnlp.engines import base

    out = tmp_path / "out"
    assert command(*words[:-2], "--out", out) == 0
    assert read_json(out / "run.json")["fingerprint"]["device"] == "cpu"
    monkeypatch.setattr(base, "choose_device", lambda wanted, where: "cuda")
    assert command(*words[:-2], "--out", out) == 4
    told = capsys.readouterr().err
    assert "differs in device (cpu, now cuda), engine (" in told and "Next: --allow_version_change true" in told
    assert command(*words[:-2], "--out", out, "--engine", "torch", "--engine.device", "cuda") == 4
    monkeypatch.undo()
    if not torch.cuda.is_available():
        assert command(*words[:-2], "--out", tmp_path / "new", "--engine", "torch", "--engine.device", "cuda") == 2
        assert "engine.device: no GPU that torch can use. " in capsys.readouterr().err


def test_a_library_that_is_missing_is_named_before_anything_is_read(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from clinnlp.engines import base

    monkeypatch.setattr(base, "find_spec", lambda name: None)
    assert command(*words[:-1], "openvino", "--out", tmp_path / "out") == 2
    assert "the openvino engine needs openvino, not installed here" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("splits", [("test",), ("test", "dev")])
def test_evaluate_chooses_on_dev_with_its_gold_and_on_test_without(
    splits: tuple[str, ...], ner_run: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def win(trained: Any, documents: Any, bound: Any) -> Any:
        seen.append((documents, bound.lost_points))
        return engine_named("packed-fp32"), [Trial("packed-fp32", "chosen", 9.0, 0.1, 1.0, len(documents))]

    monkeypatch.setattr(auto, "choose", win)
    given = [word for split in splits for word in (f"--data.{split}", corpus / f"{split}.jsonl")]
    words = ("evaluate", "--model", ner_run / "model", *given, "--seed", 1)
    assert command(*words, "--engine", "auto", "--bound.lost_points", 0.5, "--out", tmp_path / "auto") == 0
    assert command(*words, "--engine", "packed-fp32", "--out", tmp_path / "named") == 0
    ((documents, lost_points),) = seen
    assert lost_points == 0.5
    assert {document.id.partition("-")[0] for document in documents} == {splits[-1]}
    assert any(document.spans or document.labels for document in documents) == ("dev" in splits)
    chosen, named = (read_json(tmp_path / name / "manifest.json")["facts"] for name in ("auto", "named"))
    assert chosen["engine"] == named["engine"] == "packed fp32 cpu"
    chosen, named = (read_json(tmp_path / name / "metrics.json") for name in ("auto", "named"))
    assert chosen["entity"] == named["entity"]
    assert "packed fp32" in (tmp_path / "auto" / "report.html").read_text(encoding="utf-8")
