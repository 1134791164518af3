"""A run folder: one process, the same run or none, and nothing of anyone else."""

import json
from pathlib import Path

import pytest

from clinnlp.core import run as module
from clinnlp.core.lock import only_run
from clinnlp.core.run import LOCK, MANIFEST, Manifest, Run, abandon, is_done
from clinnlp.errors import ChangedError, InUseError


def begin(folder: Path, verb: str = "finetune", **settings: object) -> Run:
    return Run(folder, Manifest(verb, settings, "0"))


def killed(run: Run) -> None:
    """As if the process had ended: the system lets go of its lock."""
    run._lock.close()
    module._open.remove(run)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_run_from_beginning_to_end(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    assert names(run.folder) == {MANIFEST, LOCK}
    assert not is_done(run.folder)
    run.finish({"notes": 3})
    assert names(run.folder) == {MANIFEST}
    assert is_done(run.folder)
    with pytest.raises(InUseError, match="already holds a run"):
        begin(run.folder)


def test_a_folder_of_someone_else_is_left_as_it_is(tmp_path: Path) -> None:
    for content in ("notes", "[1]", "{"):
        (tmp_path / MANIFEST).write_text(content)
        with pytest.raises(InUseError):
            begin(tmp_path)
        assert names(tmp_path) == {MANIFEST}
    (tmp_path / MANIFEST).rename(tmp_path / "notes.txt")
    with pytest.raises(InUseError, match="files that are not of clinnlp"):
        begin(tmp_path)
    assert names(tmp_path) == {"notes.txt"}


def test_what_differs_is_named(tmp_path: Path) -> None:
    killed(begin(tmp_path / "run", seed=1, fit={"batch": 8, "save_minutes": 1}, out="a"))
    same = {"seed": 1, "fit": {"batch": 8, "save_minutes": 2}, "out": "b"}
    killed(begin(tmp_path / "run", **same))
    with pytest.raises(ChangedError) as error:
        begin(tmp_path / "run", **same | {"fit": {"batch": 4}, "rank": 2})
    assert error.value.what.endswith("differs in fit.batch (8 before, now 4), rank (None before, now 2)")
    with pytest.raises(ChangedError, match=r"differs in verb \(finetune before, now pretrain\)"):
        begin(tmp_path / "run", verb="pretrain", **same)


def test_what_a_run_is_made_of_is_pinned_through_a_kill(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    run.pin("data", {"train": "aa", "dev": "bb"})
    killed(run)
    killed(begin(tmp_path / "run"))  # once more, before it comes to its data
    run = begin(tmp_path / "run")
    with pytest.raises(ChangedError) as error:
        run.pin("data", {"train": "aa", "dev": "cc", "test": "dd"})
    assert error.value.what.endswith("differs in data (dev), data (test)")
    run.pin("data", {"train": "aa", "dev": "bb"})
    assert abandon() == f"{run.folder}, marked as failed", "though nothing but its record was written"
    run = begin(tmp_path / "run")
    run.clear()
    run.pin("data", {"train": "aa", "dev": "cc"})
    run.finish()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    with pytest.raises(InUseError, match="in use by process"):
        begin(tmp_path / "run")
    run.finish()
    (tmp_path / "new").mkdir()
    with only_run(tmp_path / "new" / LOCK, next=""), pytest.raises(InUseError, match="in use by process"):
        begin(tmp_path / "new")
    begin(tmp_path / "new").finish()


def test_left_before_anything_was_written(tmp_path: Path) -> None:
    (tmp_path / f"{MANIFEST}.tmp").write_text("{")
    (tmp_path / LOCK).touch()
    begin(tmp_path).finish()
    assert names(tmp_path) == {MANIFEST}


def test_clear_keeps_what_it_is_told_to(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    for name in ("model/a", "checkpoints/b"):
        (run.folder / name).parent.mkdir()
        (run.folder / name).touch()
    (run.folder / "report.txt").touch()
    (run.folder / "elsewhere").symlink_to(tmp_path)
    run.clear("checkpoints")
    assert names(run.folder) == {MANIFEST, LOCK, "checkpoints"}
    assert tmp_path.exists()
    run.finish()


def test_abandoned_with_nothing_and_with_something(tmp_path: Path) -> None:
    (begin(tmp_path / "nothing").folder / f"{MANIFEST}.tmp").write_text("{")
    assert abandon() == "nothing was written"
    assert not (tmp_path / "nothing").exists()
    run = begin(tmp_path / "run")
    (run.folder / "model").mkdir()
    assert abandon("stopped") == f"{run.folder}, marked as stopped"
    assert json.loads((run.folder / MANIFEST).read_text())["status"] == "stopped"
    assert names(run.folder) == {MANIFEST, "model"}
    begin(run.folder).finish()


def test_other_versions_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    killed(begin(tmp_path / "run"))
    path = tmp_path / "run" / MANIFEST
    told = json.loads(path.read_text())
    del told["versions"]["peft"]
    path.write_text(json.dumps(told | {"python": "3.0"}))
    begin(tmp_path / "run").finish()
    assert "begun with other versions, so not to the bit: peft (None, now" in caplog.text
    assert "python (3.0, now 3." in caplog.text


def test_a_run_of_another_format_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", Manifest("pretrain", {}, "0"))
    (run.folder / "half").touch()
    told = run.manifest.as_dict() | {"format_version": 99}
    run.close()
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ChangedError, match="a run of format 99, this clinnlp knows format 1"):
        Run(tmp_path / "run", Manifest("pretrain", {}, "0"))
    (tmp_path / "run" / "manifest.json").write_text('{"status": "running"}', encoding="utf-8")
    with pytest.raises(InUseError, match="already holds a run"):
        Run(tmp_path / "run", Manifest("pretrain", {}, "0"))
