"""A training command that is broken off anywhere and given again leaves what it would have left without the break."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clinnlp.core import run as run_module
from clinnlp.training.checkpoints import Checkpoints
from tests.recipes.command import FAST, clinnlp, notes, read_json, write_jsonl
from tests.recipes.conftest import LORA

Words = tuple[object, ...]
OFTEN = ("--fit.save_minutes", 0)
LABELED = ("--fit.max_steps", 12, "--fit.evaluations", 3, "--seed", 1)
EVERYTHING = (
    *("--strategy", "gradual_unfreeze", "--fit.schedule", "slanted_triangular", "--fit.layer_decay", 0.9),
    *("--fit.average", "ema", "--fit.base_penalty", 0.1, "--fit.fresh_layers", 1, "--fit.balance", 1.0),
)


class Killed(BaseException):
    """The process is gone."""


FURTHER = ("scratch", "simcse", "supervised", "notes", "top_layers", "mmd", "subspace", "reweight")


@pytest.fixture(
    scope="module",
    params=[
        *("pretrain", "ner", "everything", "dann", "multitask"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in FURTHER),
    ],
)
def words(request: pytest.FixtureRequest, tiny: Callable[[str], Path], corpus: Path) -> Words:
    """A command of each kind that trains, without --out."""
    data = [word for name in ("train", "dev", "test") for word in (f"--data.{name}", corpus / f"{name}.jsonl")]
    target = ("--data.target", corpus / "target.jsonl")
    short = ("--data.train", corpus / "train.jsonl", "--block", 32, *FAST, "--fit.min_steps", 12, "--held_out", 0.2)
    small = ("--scratch.hidden", 16, "--scratch.heads", 2, "--scratch.intermediate", 16, "--scratch.layers", 1)
    commands: dict[str, Words] = {
        "pretrain": ("pretrain", "--base", tiny("bert"), *short),
        "scratch": ("pretrain", *short, *small, "--scratch.vocabulary", 120),
        "simcse": ("pretrain", "--base", tiny("bert"), *short, "--objective", "simcse"),
        "supervised": ("pretrain", "--base", tiny("roberta"), *short, "--objective", "supervised"),
        "ner": ("finetune", "--base", tiny("bert"), *data, *FAST, *LORA, *LABELED),
        "notes": ("finetune", "--base", tiny("roberta"), *data, *FAST, "--strategy", "full", *LABELED,
                  "--task", "note_classification"),
        "top_layers": ("finetune", "--base", tiny("bert"), *data, *FAST, "--strategy", "top_layers", *LABELED,
                       "--task", "note_classification"),
        "everything": ("finetune", "--base", tiny("bert"), *data, *FAST, *EVERYTHING, *LABELED),
        "dann": ("finetune", "--base", tiny("bert"), *data, *target, *FAST, *LORA, *LABELED, "--domain", "dann"),
        "mmd": ("finetune", "--base", tiny("roberta"), *data, *target, *FAST, "--strategy", "full", *LABELED,
                "--task", "note_classification", "--domain", "mmd"),
        "subspace": ("finetune", "--base", tiny("bert"), *data, *target, *FAST, "--strategy", "feature_extractor",
                     *LABELED, "--domain", "subspace", "--strategy.cache", "true"),
        "reweight": ("finetune", "--base", tiny("bert"), *data, *target, *FAST, *LORA, *LABELED, "--domain", "reweight",
                     "--fit.balance", 0.5),
        "multitask": ("multitask", "--base", tiny("bert"), *data, *FAST, *LORA[:4], *LABELED, "--tasks.spans.task",
                      "ner", "--tasks.notes.task", "note_classification", "--tasks.notes.weight", 2),
    }  # fmt: skip
    return commands[request.param]


@pytest.fixture(scope="module")
def whole(words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command leaves when nothing breaks it off."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert clinnlp(*words, "--out", out) == 0
    return out


def left(out: Path) -> dict[str, bytes]:
    """All that a run is for, byte by byte: the model, the predictions and the scores."""
    files = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    kept = {name: content for name, content in files.items() if "model/" in name or "predictions" in name}
    if out.name == "run" and kept.keys() & {"predictions.jsonl", "spans/predictions.jsonl"}:
        kept["metrics.json"] = files["metrics.json"]
    return kept


def same(out: Path, whole: Path) -> bool:
    """Whether two runs left the same; the vocabulary of a model from scratch is compared as well."""
    one, other = left(out), left(whole)
    return one.keys() == other.keys() and all(one[name] == other[name] for name in one)


def killed_after(saves: int, words: Words, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = [0]
    save = Checkpoints.save

    def counted(self: Checkpoints, state: object) -> Path:
        path = save(self, state)  # type: ignore[arg-type]
        count[0] += 1
        if count[0] == saves:
            raise Killed
        return path

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Checkpoints, "save", counted)
        clinnlp(*words, *OFTEN, "--out", out)
    for run in list(run_module._open):  # as the end of its process would
        run._lock.close()
        run_module._open.remove(run)


@pytest.mark.parametrize("saves", [1, 4, 9])
def test_killed_and_given_again(
    words: Words, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: int,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "run"
    killed_after(saves, words, out, monkeypatch)
    (out / "model").mkdir(exist_ok=True)
    (out / "model" / "half.safetensors").write_bytes(b"left by a kill while saving")
    assert clinnlp(*words, "--out", out) == 0
    assert "going on from step" in capsys.readouterr().err
    assert same(out, whole)
    assert not (out / "checkpoints").exists(), "what trained a model is no part of it"
    (out / "checkpoints").mkdir()
    (out / "checkpoints" / "secret.json").write_text("left by a kill at the very end")
    assert clinnlp(*words, "--out", out) == 5, "and a finished run is left alone"
    assert not (out / "checkpoints").exists()


@pytest.fixture(scope="module")
def broken_off(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Words]:
    """A fine-tuning command that was killed after five saves, in a folder of the test's own."""

    def make(out: Path) -> Words:
        folder = out.parent / "data"
        data: list[object] = []
        for name, count in (("train", 40), ("dev", 10)):
            data += [f"--data.{name}", write_jsonl(folder / f"{name}.jsonl", notes(count, name))]
        words = ("finetune", "--base", tiny("bert"), *data, *FAST, *LORA, *LABELED)
        with pytest.MonkeyPatch.context() as patch:
            killed_after(5, words, out, patch)
        return words

    return make


CHANGES = {
    "seed": 2, "fit.learning_rate": 1e-3, "fit.epochs": 3.0, "fit.max_steps": 13, "fit.min_steps": 12, "fit.batch": 4,
    "fit.accumulate": 2, "fit.schedule": "cosine", "fit.warmup": 0.2, "fit.decay": 0.1, "fit.weight_decay": 0.0,
    "fit.beta2": 0.98, "fit.clip": 0.5, "fit.evaluations": 2, "fit.patience": 1, "fit.precision": "auto",
    "strategy.rank": 4, "strategy.alpha": 8, "strategy.dropout": 0.2, "strategy.head_learning_rate": 1e-3,
    "strategy.layers": "top_half", "strategy.b_rate": 4.0,
    "fit.average": "last", "fit.average_last": 2, "fit.layer_decay": 0.9, "fit.base_penalty": 0.1, "fit.balance": 0.5,
    "task.window": 16, "task.overlap": 4, "data.split_seed": 4, "data.unknown_labels": "miss",
}  # fmt: skip


def test_changed_settings_are_refused_by_name(
    broken_off: Callable[[Path], Words], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = broken_off(out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    for name, value in CHANGES.items():
        given = [*words]
        if f"--{name}" in given:
            del given[(at := given.index(f"--{name}")) : at + 2]
        assert clinnlp(*given, f"--{name}", value, "--out", out) == 4, name
        told = capsys.readouterr().err
        assert f"the folder holds an unfinished run that differs in {name} (" in told
        assert f"now {value})" in told
    assert {path: path.read_bytes() for path in before} == before


def test_changed_notes_or_base_are_refused(
    broken_off: Callable[[Path], Words], tiny: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = broken_off(out)
    train = tmp_path / "data" / "train.jsonl"
    content = train.read_text(encoding="utf-8")
    train.write_text(content.replace("fever", "cough", 1), encoding="utf-8")
    assert clinnlp(*words, "--out", out) == 4
    assert "differs in data (train)." in capsys.readouterr().err
    train.write_text(content, encoding="utf-8")
    manifest = read_json(out / "manifest.json")
    assert len(manifest["weights_sha256"]["base"]) == 64
    manifest["weights_sha256"]["base"] = "0" * 64
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert clinnlp(*words, "--out", out) == 4
    assert "differs in weights (base)." in capsys.readouterr().err


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_changed_config_or_tokenizer_of_the_base_is_refused(
    name: str, tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    base = tmp_path / "base"
    shutil.copytree(tiny("bert"), base)
    train = write_jsonl(tmp_path / "train.jsonl", notes(40, "train"))
    words = ("finetune", "--base", base, "--data.train", train, *FAST, *LORA, *LABELED)
    killed_after(2, words, tmp_path / "run", monkeypatch)
    text = (base / name).read_text(encoding="utf-8")
    (base / name).write_text(text + "\n", encoding="utf-8")
    assert clinnlp(*words, "--out", tmp_path / "run") == 4
    assert "differs in weights (base config and tokenizer)." in capsys.readouterr().err


def test_other_versions_are_told(
    broken_off: Callable[[Path], Words], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = broken_off(out)
    manifest = read_json(out / "manifest.json")
    manifest["versions"]["torch"] = "1.0"
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert clinnlp(*words, "--out", out) == 0
    assert "begun with other versions, so not to the bit: torch (1.0, now 2." in capsys.readouterr().err


def test_two_trainers_on_one_folder(
    broken_off: Callable[[Path], Words], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from clinnlp.core.lock import only_run

    out = tmp_path / "run"
    words = broken_off(out)
    with only_run(out / run_module.LOCK, next=""):
        assert clinnlp(*words, "--out", out) == 5
    told = capsys.readouterr().err
    assert f"{out}: in use by process {os.getpid()} on " in told
    assert "Next: wait for it, or choose a new --out." in told
    assert clinnlp(*words, "--out", out) == 0


def command_line(words: Words, out: Path, *more: object) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "clinnlp", *map(str, words), "--out", str(out), *map(str, more)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)


def test_sigterm_saves_and_leaves(tiny: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    data = [word for name in ("train", "dev") for word in (f"--data.{name}", corpus / f"{name}.jsonl")]
    words = ("finetune", "--base", tiny("bert"), *data, *FAST, "--fit.max_steps", 100_000, "--fit.epochs", 90_000,
             "--fit.evaluations", 5000, "--fit.patience", 0)  # fmt: skip
    process = command_line(words, tmp_path / "run")
    assert process.stderr is not None
    while "step " not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    told = process.stderr.read()
    assert process.wait() == 143
    assert time.monotonic() - asked < 10
    assert "clinnlp: error[CLN-R130]" in told
    assert "Kept: the checkpoint of step" in told and "run the same command again" in told
    assert "Traceback" not in told
    assert read_json(tmp_path / "run" / "manifest.json")["status"] == "stopped"


@pytest.mark.slow
def test_killed_at_random(words: Words, whole: Path, tmp_path: Path) -> None:
    """25 kills of each kind of command, at any moment of it, and each run gone on with until it is done."""
    import random

    draw, kills, rounds = random.Random(0), 0, 0
    while kills < 25:
        out = tmp_path / f"{rounds}" / "run"
        out.parent.mkdir()
        began = time.monotonic()
        assert command_line(words, out.with_name("timed"), *OFTEN).wait() == 0
        lasts = time.monotonic() - began
        while not run_module.is_done(out):  # a kill may come after the end
            process = command_line(words, out, *OFTEN)
            try:
                process.communicate(timeout=draw.uniform(0.3, 1.0) * lasts)
                assert process.returncode == 0
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
        assert same(out, whole)
        rounds += 1
