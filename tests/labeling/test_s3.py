"""A run on S3 as moto plays it, where s3fs and moto are installed: conditional writes, no uploads in parts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clinnlp.labeling.options import Options
from clinnlp.labeling.output import read_labels
from clinnlp.labeling.store import open_store
from clinnlp.labeling.verify import verify
from tests.labeling.fakes import label
from tests.labeling.test_exactly_once import committed, prepared, records

URL = "s3://bucket/run"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty bucket on a server in this process."""
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = pytest.importorskip("moto.server", reason="moto is not installed").ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().makedirs("bucket", exist_ok=True)
    yield
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_a_run_has_the_bytes_of_one_in_a_folder_and_one_writer_wins(s3: None, tmp_path: Path) -> None:
    label(prepared(URL), records(), options=Options(shard_documents=3, workers=0, join=True))
    label(prepared(tmp_path / "out"), records())
    assert committed(URL) == committed(tmp_path / "out") != {}
    assert verify(open_store(URL)).faults == []
    assert read_labels(URL).documents.ordinal.tolist() == list(range(8))
    assert open_store(URL).put_if_absent("x", b"first") and not open_store(URL).put_if_absent("x", b"second")
    assert open_store(URL).get("x") == b"first"


def test_a_large_object_leaves_no_upload_in_parts(s3: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    asked: list[str] = []
    real = s3fs.S3FileSystem._call_s3

    async def counted(self: object, method: str, *given: object, **named: object) -> object:
        asked.append(method)
        return await real(self, method, *given, **named)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
    store = open_store(URL)
    store.put("large", bytes(101 * 2**20))  # s3fs by itself sends more than 100 MiB in parts
    assert store.size("large") == 101 * 2**20 and "put_object" in asked
    assert not [method for method in asked if "multipart" in method or "part" in method]
