"""An object store: requests that fail, answers that are lost, writers at the same time, all in memory."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from clinnlp.errors import ConfigError, IntegrityError, StorageError
from clinnlp.labeling import object_store
from clinnlp.labeling.object_store import ObjectStore
from clinnlp.labeling.options import Options
from clinnlp.labeling.output import read_labels
from clinnlp.labeling.store import LocalStore, open_store
from clinnlp.labeling.verify import verify
from tests.labeling.disk import Killed
from tests.labeling.fakes import Fake, label, notes
from tests.labeling.test_exactly_once import committed, prepared, records

URL = "faulty://bucket/run"
REQUESTS = ("pipe_file", "cat_file", "info", "ls", "rm_file")
Fault = Callable[[int, str, Callable[[], Any]], Any]


class Faulty(MemoryFileSystem):  # type: ignore[misc]
    """Objects in memory; each request is numbered and goes through `fault`, which may fail it before or after."""

    protocol = "faulty"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]
    cachable = False
    requests: list[str] = []
    fault: Fault = staticmethod(lambda number, name, request: request())

    def __getattribute__(self, name: str) -> Any:
        real = super().__getattribute__(name)
        if name not in REQUESTS or Faulty.inside:
            return real

        def request(*given: Any, **named: Any) -> Any:
            Faulty.requests.append(name)
            Faulty.inside = True
            try:
                return Faulty.fault(len(Faulty.requests), name, lambda: real(*given, **named))
            finally:
                Faulty.inside = False

        return request

    inside = False


@pytest.fixture(autouse=True)
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty bucket with conditional writes, and no pauses between tries."""
    fsspec.register_implementation("faulty", Faulty, clobber=True)
    monkeypatch.setattr(object_store, "CONDITIONAL", {"faulty"})
    monkeypatch.setattr(object_store, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(Faulty, "fault", staticmethod(lambda number, name, request: request()))
    empty()
    yield
    empty()


def empty() -> None:
    Faulty.store.clear()
    Faulty.pseudo_dirs[:] = [""]
    Faulty.requests.clear()


def faults(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    Faulty.requests.clear()
    monkeypatch.setattr(Faulty, "fault", staticmethod(fault))


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, str], bytes]:
    """The committed bytes of a run in a folder."""
    out = prepared(tmp_path_factory.mktemp("local") / "out")
    label(out, records())
    return committed(out)


def check(wanted: dict[tuple[int, str], bytes]) -> None:
    assert committed(URL) == wanted
    assert read_labels(URL).documents.ordinal.tolist() == list(range(8))
    assert verify(open_store(URL)).faults == []
    assert len([name for name in Faulty.store if "/commits/" in name]) == 3


def test_files_come_back() -> None:
    store = open_store(URL)
    assert isinstance(store, ObjectStore)
    assert (store.get("x/y"), store.size("x/y"), store.names("x")) == (None, None, [])
    store.put("x/y", b"1")
    store.put("x/y", b"22")
    assert (store.get("x/y"), store.size("x/y"), store.names("x"), store.names("")) == (b"22", 2, ["y"], ["x"])
    assert store.put_if_absent("z", b"first") and not open_store(URL).put_if_absent("z", b"second")
    assert store.get("z") == b"first"
    store.remove("x/y")
    store.remove("x/y")
    assert store.names("x") == []


def test_a_run_has_the_bytes_of_one_in_a_folder(wanted: dict[tuple[int, str], bytes]) -> None:
    label(prepared(URL), records())
    check(wanted)
    before = dict(Faulty.store)
    label(URL, records())
    assert Faulty.store == before


def broken(number: int, name: str, request: Callable[[], Any]) -> Any:
    raise OSError("500 Qvortrup")


def lost(number: int, name: str, request: Callable[[], Any]) -> Any:
    request()
    raise TimeoutError("Qvortrup")


@pytest.mark.parametrize("how", [broken, lost])
def test_any_one_request_that_fails_or_whose_answer_is_lost(
    how: Fault, wanted: dict[tuple[int, str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(URL)
    Faulty.requests.clear()
    label(URL, records())
    count = len(Faulty.requests)
    assert count > 30

    def one(number: int, name: str, request: Callable[[], Any]) -> Any:
        return how(number, name, request) if number == at else request()

    for at in range(1, count + 1):
        empty()
        prepared(URL)
        faults(
            monkeypatch, lambda number, name, request, at=at: how(number, name, request) if number == at else request()
        )  # type: ignore[misc]
        label(URL, records())
        faults(monkeypatch, lambda number, name, request: request())
        check(wanted)
        assert len([name for name in Faulty.store if "/documents/" in name]) == 3, "nothing was done twice"


def test_every_second_request_fails(wanted: dict[tuple[int, str], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(URL)
    faults(monkeypatch, lambda number, name, request: broken(number, name, request) if number % 2 else request())
    label(URL, records())
    faults(monkeypatch, lambda number, name, request: request())
    check(wanted)


def test_a_kill_at_every_request(wanted: dict[tuple[int, str], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(URL)
    Faulty.requests.clear()
    label(URL, records())
    count = len(Faulty.requests)

    def kill(number: int, name: str, request: Callable[[], Any]) -> Any:
        if number >= at:
            raise Killed
        return request()

    for at in range(1, count + 1):  # noqa: B007
        empty()
        prepared(URL)
        faults(monkeypatch, kill)
        with pytest.raises(Killed):
            label(URL, records())
        faults(monkeypatch, lambda number, name, request: request())
        label(URL, records())
        check(wanted)


def test_a_store_that_is_down_ends_the_run_with_what_is_kept(
    wanted: dict[tuple[int, str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(URL)

    def down(number: int, name: str, request: Callable[[], Any]) -> Any:
        return broken(number, name, request) if name == "pipe_file" and number > 25 else request()

    faults(monkeypatch, down)
    with pytest.raises(StorageError) as error:
        label(URL, records())
    assert error.value.exit_status == 6
    assert "cannot be read or written (OSError, 4 tries). Kept: " in str(error.value)
    assert "Qvortrup" not in str(error.value)
    faults(monkeypatch, lambda number, name, request: request())
    label(URL, records())
    check(wanted)


class Overtaken(Fake):
    """A model that lets another process do the whole run before it answers for the first time."""

    def _predict(self, documents: Any, batch_tokens: int) -> Any:
        if not open_store(URL).names("commits"):
            label(URL, records(), Fake(), Options(shard_documents=3, workers=0, join=True))
        return super()._predict(documents, batch_tokens) if self.witness is None else list(documents)


def test_a_commit_that_comes_late_is_dropped(wanted: dict[tuple[int, str], bytes]) -> None:
    label(prepared(URL), records(), Overtaken())
    check(wanted)
    assert len([name for name in Faulty.store if "/documents/" in name]) == 3


def test_a_late_commit_that_says_otherwise_is_an_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    prepared(URL)
    with pytest.raises(IntegrityError, match="shard 0 was labeled differently by another process") as error:
        label(URL, records(), Overtaken(witness=tmp_path_factory.mktemp("x") / "w"))
    assert error.value.exit_status == 7


def test_every_object_is_one_request_and_no_upload_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks: list[int] = []
    real = MemoryFileSystem.pipe_file

    def pipe_file(self: Any, path: str, value: bytes, mode: str = "overwrite", chunksize: int = 0) -> Any:
        chunks.append(chunksize)
        return real(self, path, value, mode)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", pipe_file)
    label(prepared(URL), records())
    assert len(chunks) > 10 and set(chunks) == {5 * 2**30}, "the most that S3 takes at once"


def test_a_list_that_is_not_up_to_date_costs_work_and_no_commit(
    wanted: dict[tuple[int, str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    label(prepared(URL), records())
    lists: list[int] = []

    def stale(number: int, name: str, request: Callable[[], Any]) -> Any:
        if name == "ls":
            lists.append(number)
        return [] if name == "ls" and len(lists) == 1 else request()

    faults(monkeypatch, stale)
    label(URL, records())
    assert lists
    faults(monkeypatch, lambda number, name, request: request())
    check(wanted)


def test_a_store_without_conditional_writes_is_for_one_process(
    wanted: dict[tuple[int, str], bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(object_store, "CONDITIONAL", set())
    prepared(URL)
    with pytest.raises(ConfigError, match="no conditional writes, so several processes cannot share a run"):
        label(URL, records(), options=Options(shard_documents=3, workers=0, join=True))
    with caplog.at_level(logging.WARNING):
        label(URL, records())
    assert f"{URL} has no conditional writes: see that no other process labels into it" in caplog.text
    check(wanted)


def test_a_kind_of_store_that_is_not_installed() -> None:
    with pytest.raises(ConfigError, match="object stores of the kind 'nothing' cannot be opened") as error:
        open_store("nothing://bucket/x")
    assert "pip install the fsspec package" in str(error.value)
    assert isinstance(open_store("C:/x"), LocalStore)


def test_a_url_of_a_folder_is_that_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    label(f"file://{tmp_path}/new/run", notes(4))
    assert "no conditional writes" not in caplog.text
    store = open_store(f"file://{tmp_path}/new/run")
    assert isinstance(store, LocalStore) and store.root == tmp_path / "new" / "run"
    assert label(tmp_path / "new" / "run", notes(4)).input == 4
    with pytest.raises(ConfigError, match="no place for labels is named"):
        open_store("")
