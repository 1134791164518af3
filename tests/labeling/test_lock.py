"""The lock of a folder: a run that was killed leaves one behind, and some file systems have none."""

import errno
import fcntl
import json
import logging
from pathlib import Path

import pytest

from tests.labeling.fakes import label, notes


def test_a_lock_that_a_killed_run_left_is_taken_over_with_a_notice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "lock").write_text(json.dumps({"host": "ward-7", "pid": 1, "started": "2031-01-01T00:00:00+00:00"}))
    with caplog.at_level(logging.WARNING, "clinnlp"):
        assert label(tmp_path, notes(4)).input == 4
    (notice,) = [record.getMessage() for record in caplog.records if "taking over" in record.getMessage()]
    assert "ward-7" in notice and "which did not end by itself" in notice
    assert (tmp_path / "lock").read_bytes() == b""


def test_a_file_system_without_locks_is_told_and_labels_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    label(tmp_path / "a", notes(4))
    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING, "clinnlp"):
        assert label(tmp_path / "b", notes(4)).input == 4
    assert "this file system has no locks" in caplog.text
