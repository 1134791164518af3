"""Several processes train one model as one process does, stop together, and go on together."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from clinnlp.core.ranks import own_folder, shared_folder
from tests.recipes.command import FAST, clinnlp, read_json, write_jsonl
from tests.tiny import sentences

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone")


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records = [{"id": str(n), "text": text} for n, text in enumerate(sentences(80))]
    return write_jsonl(tmp_path_factory.mktemp("lines") / "n.jsonl", records)


def start(words: list[object]) -> "subprocess.Popen[str]":
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*TORCHRUN, "-m", "clinnlp", *map(str, words)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def trained(out: Path) -> dict[str, Any]:
    facts: dict[str, Any] = read_json(out / "metrics.json")["pretraining"]
    return facts


def test_two_processes_lose_what_one_does_at_the_same_global_batch(
    tiny: Callable[[str], Path], lines: Path, tmp_path: Path
) -> None:
    words = ["pretrain", "--base", tiny("bert"), "--data.train", lines, "--block", 64, *FAST, "--fit.batch", 4]
    words += ["--fit.learning_rate", 3e-3, "--fit.max_steps", 6, "--fit.epochs", 9, "--out"]
    together = start([*words, tmp_path / "two"])
    assert clinnlp(*words, tmp_path / "one", "--fit.accumulate", 2) == 0
    told = together.communicate()[1]
    assert together.returncode == 0, told[-2000:]
    one, two = ([row["loss"] for row in trained(tmp_path / out)["history"]] for out in ("one", "two"))
    assert len(one) == 6 and two == pytest.approx(one, rel=1e-5)
    weights = [load_file(tmp_path / out / "model" / "model.safetensors") for out in ("one", "two")]
    assert all(weights[1][name].allclose(weight, atol=1e-4) for name, weight in weights[0].items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"], "nothing of the second process is left"
    assert told.count("step 6 of 6") == 1, "one process tells"


@pytest.mark.slow
def test_they_stop_and_go_on_together(tiny: Callable[[str], Path], lines: Path, tmp_path: Path) -> None:
    """With dropout, whose masks are those of a step and process."""
    words = ["pretrain", "--base", tiny("bert"), "--data.train", lines, "--block", 64, *FAST, "--fit.batch", 4]
    words += ["--dropout", 0.1, "--fit.max_steps", 40, "--fit.epochs", 99, "--fit.save_minutes", 0, "--out"]
    whole = start([*words, tmp_path / "whole"])
    assert whole.wait() == 0
    stopped = start([*words, tmp_path / "stopped"])
    while not list(tmp_path.glob("stopped/checkpoints/step-*/COMPLETE.json")) and stopped.poll() is None:
        time.sleep(0.05)
    stopped.send_signal(signal.SIGTERM)
    told = stopped.communicate()[1]
    assert stopped.returncode != 0, told[-2000:]
    assert list(tmp_path.glob("stopped/checkpoints/step-*/COMPLETE.json")), "a checkpoint is kept"
    again = start([*words, tmp_path / "stopped"])
    told = again.communicate()[1]
    assert again.returncode == 0 and "going on from step" in told, told[-2000:]
    ends = [(tmp_path / out / "model" / "model.safetensors").read_bytes() for out in ("whole", "stopped")]
    assert ends[0] == ends[1]


def test_a_verb_of_many_runs_is_for_one_process(
    monkeypatch: pytest.MonkeyPatch, corpus: Path, tiny: Callable[[str], Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("WORLD_SIZE", "2")
    words = ("--base", tiny("bert"), "--data.train", corpus / "train.jsonl", "--out", tmp_path / "run")
    assert clinnlp("crossvalidate", *words) == 2
    assert "crossvalidate is not made for several processes. " in capsys.readouterr().err


def test_folders_of_further_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert own_folder(tmp_path / "run") == shared_folder(tmp_path / "run") == tmp_path / "run"
    monkeypatch.setenv("RANK", "1")
    own = own_folder(tmp_path / "run")
    assert own == tmp_path / ".run.rank-1" and shared_folder(own) == tmp_path / "run"
