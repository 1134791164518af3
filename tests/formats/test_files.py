"""Which files a path means: in order of name bytes, hidden ones passed over, pipes and loops refused."""

import os
from pathlib import Path

import pytest

from clinnlp.errors import ConfigError, StorageError
from clinnlp.formats.base import find_files, read
from clinnlp.formats.jsonl import Jsonl

LINE = b'{"id": "1", "text": "fever"}\n'


def found(path: Path | str) -> list[str]:
    return [file.name for file in find_files(path, Jsonl())]


def test_order_is_that_of_name_bytes_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("b.jsonl", "é.jsonl", "B.jsonl", "a/z.jsonl", ".hidden.jsonl", ".git/x.jsonl", "10.jsonl", "9.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(LINE)
    wanted = ["10.jsonl", "9.jsonl", "B.jsonl", "z.jsonl", "b.jsonl", "é.jsonl"]
    assert found(tmp_path) == wanted == found(f"{tmp_path}/**/*.jsonl")
    assert found(tmp_path / ".hidden.jsonl") == [".hidden.jsonl"]


def test_no_path_is_not_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a job gives it whose variable is not set."""
    (tmp_path / "a.jsonl").write_bytes(LINE)
    monkeypatch.chdir(tmp_path)
    assert found(".") == ["a.jsonl"]
    with pytest.raises(ConfigError, match="an empty path"):
        found("")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINE)
    os.mkfifo(tmp_path / "p.jsonl")
    for path in (tmp_path, tmp_path / "p.jsonl", f"{tmp_path}/*.jsonl"):
        with pytest.raises(ConfigError) as error:
            find_files(path, Jsonl())
        assert str(error.value) == (
            f"{tmp_path}/p.jsonl: no regular file, but a pipe, a device or a link that leads nowhere. "
            "Next: remove it, or put the notes in a file: they are read more than once."
        )


def test_links(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(LINE)
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    assert found(tmp_path) == ["a.jsonl"], "links to folders are not followed"
    with pytest.raises(ConfigError, match="a link leads to the same file twice"):
        find_files(f"{tmp_path}/in/**/*.jsonl", Jsonl())
    (tmp_path / "in" / "loop").unlink()
    (tmp_path / "in" / "b.jsonl").symlink_to(tmp_path / "in" / "b.jsonl")
    with pytest.raises(ConfigError, match=r"b\.jsonl: no regular file"):
        find_files(tmp_path, Jsonl())
    (tmp_path / "in" / "b.jsonl").unlink()
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "in" / "a.jsonl")
    assert found(tmp_path / "b.jsonl") == ["b.jsonl"]


def test_a_folder_that_cannot_be_looked_into_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINE)
    (tmp_path / "in").mkdir()
    look = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "in":
            raise PermissionError(13, "Permission denied", path)
        return look(path)

    monkeypatch.setattr(os, "scandir", refuse)  # a mode of 0 does not stop root
    with pytest.raises(StorageError, match=r"in: cannot look into this folder: Permission denied"):
        find_files(tmp_path, Jsonl())


def test_a_file_that_cannot_be_read_ends_the_command_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINE)

    def refuse(path: Path, mode: str = "r") -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # a mode of 0 does not stop root
    with pytest.raises(StorageError, match=r"a\.jsonl: cannot read: Permission denied"):
        list(read(tmp_path, "jsonl"))
