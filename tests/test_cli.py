"""The command line: verbs, flags, help, exit codes."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from clinnlp import cli
from clinnlp.core.run import Manifest, Run
from clinnlp.core.signals import Stop
from clinnlp.errors import UsageError
from clinnlp.recipes import doctor
from clinnlp.version import VERSION


@dataclass(frozen=True)
class Settings:
    """Settings of a test."""

    inner: dict[str, object] = field(default_factory=dict)
    """More."""


@dataclass(frozen=True)
class Positional:
    """Settings with positional words."""

    positionals: ClassVar[tuple[str, ...]] = ("src", "dst")


def test_the_verbs_are_there() -> None:
    assert {
        "pretrain", "finetune", "evaluate", "label", "pipeline", "demo", "convert", "list", "doctor",
    } <= set(cli.verbs())  # fmt: skip


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["--a.b", "1", "--a.c", "x"], {"a": {"b": "1", "c": "x"}}),
        (["--a=1", "--b=x=y"], {"a": "1", "b": "x=y"}),
        (["--on", "--a", "-1"], {"on": "true", "a": "-1"}),
        (["--last"], {"last": "true"}),
        (["--a", "[1, {b: 2}]"], {"a": [1, {"b": 2}]}),
        (["--task", "ner", "--task.window", "64"], {"task": {"name": "ner", "window": "64"}}),
        (["--a", "1", "--a", "2"], {"a": "2"}),
    ],
)
def test_flags(words: list[str], values: dict[str, object]) -> None:
    assert cli.read_settings(Settings, words) == values


def test_flags_lie_over_the_config(tmp_path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("a: {b: 1, c: 2}\n")
    assert cli.read_settings(Settings, [str(path), "--a.b", "3"]) == {"a": {"b": "3", "c": 2}}


def test_positional_words() -> None:
    assert cli.read_settings(Positional, ["x", "--from", "brat", "y"]) == {"src": "x", "dst": "y", "from": "brat"}
    with pytest.raises(UsageError, match=r"3 words given, 2 expected\. Next: SRC DST\."):
        cli.read_settings(Positional, ["x", "y", "z"])
    with pytest.raises(UsageError, match="'b' is one word too many"):
        cli.read_settings(Settings, ["a", "b"])


@dataclass(frozen=True)
class Several:
    """Settings whose last positional takes all words that are left."""

    positionals: ClassVar[tuple[str, ...]] = ("src", "more...")


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["x", "y", "--a", "1", "z"], {"src": "x", "more": ["y", "z"], "a": "1"}),
        (["x", "y"], {"src": "x", "more": ["y"]}),
        (["x"], {"src": "x"}),
        ([], {}),
    ],
)
def test_the_last_positional_takes_all_that_are_left(words: list[str], values: dict[str, object]) -> None:
    assert cli.read_settings(Several, words) == values


def test_a_verb_of_two_words_is_a_recipe_beside_that_of_the_first() -> None:
    assert {"audit", "audit canaries", "audit memorisation", "learning_curve"} <= set(cli.verbs())
    assert cli.recipe_of("audit canaries").__name__ == "clinnlp.recipes.audit_canaries"


def test_a_list_that_is_none() -> None:
    with pytest.raises(UsageError, match=r"\[1: a list or mapping that is not valid YAML\."):
        cli.read_settings(Settings, ["--a", "[1"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["finetun"], "clinnlp: error[CLN-U2] 'finetun': unknown verb. Next: Did you mean 'finetune'?"),
        (
            ["audit", "memorization", "m"],
            "clinnlp: error[CLN-U2] 'audit memorization': unknown verb. Next: Did you mean 'audit memorisation'?",
        ),
        (["audit", "memorisatio.yaml"], "clinnlp: error[CLN-U2] 'audit memorisatio.yaml': unknown verb. Next: Did you"),
        (["audit", "notes.yaml"], "clinnlp: error[CLN-C2] notes.yaml: cannot read the config: No such file"),
        (["--seed", "1"], "clinnlp: error[CLN-U2] --seed: a verb comes first. Next: clinnlp VERB"),
        (
            ["finetune", "--fit.epoch", "3"],
            "clinnlp: error[CLN-C2] fit.epoch: unknown key. Next: Did you mean 'epochs'?",
        ),
        (
            ["finetune"],
            "clinnlp: error[CLN-C2] out: this setting is required. Next: give --out or out: in the config.",
        ),
        (
            ["label", "absent.yaml"],
            "clinnlp: error[CLN-C2] absent.yaml: cannot read the config: No such file or directory.",
        ),
        (["evaluate", "--out", "x"], "clinnlp: error[CLN-C2] give either model or predictions. Next: --model DIR or"),
        (["pipeline", "--out", "x"], "clinnlp: error[CLN-C2] no stage is given."),
        (["list", "zzz"], "clinnlp: error[CLN-U2] 'zzz' is neither a kind nor a plug-in."),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(told)
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_fault_of_ours_shows_no_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(settings: object) -> int:
        raise ValueError("Qvortrup, 74M")

    fail.__annotations__ = {"settings": doctor.Doctor, "return": int}
    monkeypatch.setattr(doctor, "run", fail)
    monkeypatch.delenv("CLINNLP_DEBUG", raising=False)
    assert cli.main(["doctor"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(
        "clinnlp: error[CLN-E1] unexpected ValueError: a fault of clinnlp. Kept: nothing was written. "
        "Next: set CLINNLP_DEBUG=1"
    )
    assert "Qvortrup" not in told
    monkeypatch.setenv("CLINNLP_DEBUG", "1")
    with pytest.raises(ValueError, match="Qvortrup"):
        cli.main(["doctor"])


def _caused(error: Exception, by: Exception) -> Exception:
    error.__context__ = by
    return error


FULL = OSError(errno.ENOSPC, "No space left on device", "Qvortrup.ann")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FULL, "No space left on device"),
        (OSError(errno.EFBIG, "File too large"), "File too large"),
        (OSError("[Errno 28] Error writing bytes to file. Detail: No space left on device"), "No space left on device"),
        (_caused(RuntimeError("Qvortrup"), by=FULL), "No space left on device"),
        (_caused(RuntimeError("Qvortrup"), by=RuntimeError("(x) database or disk is full [SQL]")), "disk is full"),
    ],
)
def test_a_full_disk_is_no_fault_of_ours(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(settings: object) -> int:
        raise error

    fail.__annotations__ = {"settings": doctor.Doctor, "return": int}
    monkeypatch.setattr(doctor, "run", fail)
    monkeypatch.setenv("CLINNLP_DEBUG", "1")
    assert cli.main(["doctor"]) == 6
    told = f"clinnlp: error[CLN-S6] cannot write: {said}. Kept: nothing was written. "
    told += "Next: make room and run it again; if it refuses the folder, with a new --out.\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize("flag", [["--errors", "json"], ["--errors=json"]])
def test_errors_for_programs(flag: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["label", *flag, "--notes", "a\x1bb", "--model", "m"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert json.loads(told) == {
        "code": "CLN-C2", "class": "ConfigError", "exit_status": 2, "what": "this setting is required", "where": "out",
        "kept": "", "next": "give --out or out: in the config",
    }  # fmt: skip
    assert cli.main([*flag, "nosuch"]) == 2
    assert json.loads(capsys.readouterr().err)["class"] == "UsageError"


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError("Qvortrup")])
def test_every_end_is_told_to_a_program(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(settings: object) -> int:
        raise error

    fail.__annotations__ = {"settings": doctor.Doctor, "return": int}
    monkeypatch.setattr(doctor, "run", fail)
    status = cli.main(["doctor", "--errors", "json"])
    told = capsys.readouterr().err
    assert json.loads(told)["exit_status"] == status != 0
    assert "Qvortrup" not in told and json.loads(told)["kept"] == "nothing was written"


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, 130), (Stop(15), 143), (MemoryError, 6), (BrokenPipeError, 0)]
)
def test_ends_that_are_no_faults(
    error: BaseException | type[BaseException], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(settings: object) -> int:
        raise error

    fail.__annotations__ = {"settings": doctor.Doctor, "return": int}
    monkeypatch.setattr(doctor, "run", fail)
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # a broken pipe replaces it
    assert cli.main(["doctor"]) == status


@pytest.mark.parametrize(
    ("error", "marked"),
    [(KeyboardInterrupt, "stopped"), (signal.SIGTERM, "stopped"), (MemoryError, "failed"), (ValueError, "failed")],
)
def test_an_ended_run_is_marked_and_named(
    error: type[BaseException] | signal.Signals, marked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail(settings: object) -> int:
        run = Run(tmp_path / "run", Manifest("doctor", {}, "0"))
        (run.folder / "half.txt").write_text("x")
        if isinstance(error, signal.Signals):
            os.kill(os.getpid(), error)
            raise AssertionError("the signal was not heard")
        raise error

    fail.__annotations__ = {"settings": doctor.Doctor, "return": int}
    monkeypatch.setattr(doctor, "run", fail)
    assert cli.main(["doctor"]) != 0
    assert f"Kept: {tmp_path / 'run'}, marked as {marked}." in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == marked


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"clinnlp {VERSION}\n"
    assert cli.main([]) == 0
    overview = capsys.readouterr().out
    assert all(f"\n  {verb} " in overview for verb in cli.verbs())


@pytest.mark.parametrize("verb", cli.verbs())
def test_help_of_a_verb_has_every_setting(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*verb.split(), "--help"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: clinnlp {verb} [")
    assert max(map(len, printed.splitlines())) <= 120


def test_help_of_finetune_names_flags_with_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["finetune", "--help"])
    printed = capsys.readouterr().out
    for line in (
        "--out  (required)",
        "--base  (None)",
        "--data.train  (None)",
        "--strategy  (lora)",
        "--fit.batch  (16)",
    ):
        assert f"  {line}\n" in printed


def test_list_shows_plugins_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    everything = capsys.readouterr().out
    for name in ("jsonl", "brat", "mlm", "ner", "note_classification", "full", "lora"):
        assert f"\n  {name} " in everything
    assert cli.main(["list", "lora"]) == 0
    assert "rank (16)\n      Rank of each update." in capsys.readouterr().out


def test_control_characters_of_a_path_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["label", "\x1b[31mx.yaml"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_doctor_says_ready_here(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert told.endswith("ready\n")
    assert "clinnlp is offline unless a command says --download true" in told


def test_doctor_names_what_must_be_mended(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(doctor.FLOORS, "numpy", "99.0")
    assert cli.main(["doctor", "--out", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert "  BAD  numpy" in told
    assert told.endswith("something must be mended\n")


def test_log_lines_are_one_line_each() -> None:
    record = logging.LogRecord("clinnlp", logging.WARNING, "", 0, "a\x1b[0m\rb\nc", None, None)
    assert cli._Line().format(record) == "warning: a\\x1b[0m\\rb\nwarning: c"


def test_python_m_clinnlp() -> None:
    done = subprocess.run([sys.executable, "-m", "clinnlp", "finetun"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("clinnlp: error[CLN-U2] 'finetun': unknown verb.")
