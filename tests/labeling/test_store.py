"""The store: whole files, one winner, and a disk that is really full."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from clinnlp.errors import StorageError
from clinnlp.labeling import store as module
from clinnlp.labeling.options import Options
from clinnlp.labeling.store import LocalStore
from clinnlp.labeling.verify import verify
from tests.labeling.fakes import label, notes
from tests.labeling.test_exactly_once import committed, prepared


def test_files_come_back(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "a" / "b")
    assert (store.get("x/y"), store.size("x/y"), store.names("x")) == (None, None, [])
    store.put("x/y", b"1")
    store.put("x/y", b"22")
    assert (store.get("x/y"), store.size("x/y"), store.names("x"), store.names("")) == (b"22", 2, ["y"], ["x"])
    store.remove("x/y")
    store.remove("x/y")
    assert store.names("x") == []


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert store.put_if_absent("x", b"first")
    assert not LocalStore(tmp_path).put_if_absent("x", b"second")
    assert store.get("x") == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["x"], "nothing written aside is left"


def test_a_file_is_written_aside_in_the_folder_that_it_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename to another file system would fail."""
    moved: list[tuple[Path, Path]] = []
    for name, real in (("rename", os.rename), ("link", os.link)):
        call = lambda a, b, real=real: moved.append((Path(a), Path(b))) or real(a, b)  # noqa: E731
        monkeypatch.setattr(os, name, call)
    store = LocalStore(tmp_path)
    store.put("deep/er/x", b"1")
    store.put_if_absent("deep/er/y", b"1")
    assert [(a.parent, b.name) for a, b in moved] == [(tmp_path / "deep/er", "x"), (tmp_path / "deep/er", "y")]


def test_of_many_one_wins(tmp_path: Path) -> None:
    told: list[tuple[int, bool]] = []

    def attempt(number: int) -> None:
        told.append((number, LocalStore(tmp_path).put_if_absent("x", str(number).encode())))

    for _ in range(20):
        told.clear()
        threads = [Thread(target=attempt, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ((winner, _),) = [entry for entry in told if entry[1]]
        assert (tmp_path / "x").read_bytes() == str(winner).encode()
        (tmp_path / "x").unlink()


def test_a_write_that_is_cut_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write

    class Short:
        """Writes three bytes at most."""

        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

        def write(self, file: int, data: memoryview) -> int:
            return real(file, bytes(data)[:3])

    monkeypatch.setattr(module, "os", Short())
    LocalStore(tmp_path).put("x", b"0123456789")
    assert (tmp_path / "x").read_bytes() == b"0123456789"


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*given: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StorageError, match="cannot write x: the file system has no hard links") as error:
        LocalStore(tmp_path).put_if_absent("x", b"1")
    assert error.value.exit_status == 6
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """An empty folder on a file system of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    told = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, text=True)
    if told.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {told.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_really_full(small: Path, tmp_path: Path) -> None:
    records, options = notes(60), Options(shard_documents=5, workers=0)
    label(prepared(tmp_path / "alone"), records, options=options)
    out, stopped = prepared(small / "out"), 0
    (small / "ballast").write_bytes(bytes(4096 * 8))
    for pages in range(8, -1, -1):
        with (small / "ballast").open("r+b") as ballast:
            ballast.truncate(4096 * pages)
        try:
            label(out, records, options=options)
            break
        except StorageError as error:
            stopped += 1
            assert error.exit_status == 6
            assert "No space left on device (" in error.what and " bytes needed, " in error.what
            assert not [path for path in out.rglob(".*") if path.is_file()]
            assert verify(LocalStore(out)).faults == []
    subprocess.run(["mount", "-o", "remount,size=4m", small], check=True)
    label(out, records, options=options)
    assert stopped > 3
    assert committed(out) == committed(tmp_path / "alone")
