"""What every note format keeps to; a new file in clinnlp/formats is tested without editing this one."""

import dataclasses
from pathlib import Path

import pytest

from clinnlp import config, plugins
from clinnlp.core.document import Document, Span
from clinnlp.errors import ConfigError, StorageError
from clinnlp.formats.base import Format, contents, read, read_records, write

NAMES = plugins.names("formats")
PACKED = ("brat", "docbin", "omop", "parquet")  # folders, and files that are packed inside
TEXT = "Fever since Monday.\nNo cough, caf\u00e9 \U0001f600 e\u0301"
DOCUMENTS = [
    Document("101", TEXT, (Span(0, 5, "PROBLEM"), Span(23, 28, "PROBLEM"))),
    Document("102", "x", (Span(0, 1, "creative-work"),)),
    Document("103", "nothing here"),
]


def target(name: str, folder: Path) -> Path:
    return folder / f"out{plugins.find('formats', name).suffixes[0]}" if name != "brat" else folder / "out"


def test_there_are_formats() -> None:
    assert {"brat", "conll", "csv", "docbin", "jsonl", "omop", "parquet", "pubtator"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_plugin_is_a_frozen_documented_dataclass(name: str) -> None:
    plugin = plugins.find("formats", name)
    assert issubclass(plugin, Format)
    assert plugin.__dataclass_params__.frozen
    assert plugin.__bases__[-1] is Format, "one level deep; before it only what gives options"
    assert 10 < len(plugins.meaning(plugin)) <= 110
    assert plugin.suffixes
    meanings = config.field_meanings(plugin)
    for field in dataclasses.fields(plugin):
        assert meanings.get(field.name), f"{field.name} has no docstring under it"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_reads_back(name: str, tmp_path: Path) -> None:
    path = target(name, tmp_path)
    counts = write(iter(DOCUMENTS), path, name)
    assert counts["documents"] == 3
    assert counts["spans"] == 3
    bad: list[object] = []
    back = list(read(path, name, bad))
    assert bad == []
    assert [d.id for d in back] == ["101", "102", "103"]
    assert [[(d.text[s.start : s.end], s.label) for s in d.spans] for d in back] == [
        [("Fever", "PROBLEM"), ("cough", "PROBLEM")],
        [("x", "creative-work")],
        [],
    ]
    assert all(type(d.id) is str for d in back)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_write_and_nothing_to_read(name: str, tmp_path: Path) -> None:
    path = target(name, tmp_path)
    assert write([], path, name)["documents"] == 0
    if path.is_file():
        assert list(read(path, name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_writing_twice_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    made = []
    for part in ("one", "two"):
        path = target(name, tmp_path / part)
        plugin = plugins.find("formats", name)
        dated = {"date": "2026-01-31"} if "date" in config.field_meanings(plugin) else {}
        write(DOCUMENTS, path, plugin(**dated))
        files = sorted(p for p in [path, *path.rglob("*")] if p.is_file())
        made.append([p.read_bytes() for p in files])
    assert made[0] == made[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_failed_write_leaves_the_old_file(name: str, tmp_path: Path) -> None:
    path = target(name, tmp_path)
    write(DOCUMENTS[:1], path, name)

    def broken():
        raise RuntimeError
        yield

    with pytest.raises(RuntimeError):
        write(broken(), path, name)
    assert len(list(read(path, name))) == 1
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("name", NAMES)
def test_missing_path_names_itself(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        list(read_records(tmp_path / "absent", name))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"holds no \.\w+"):
        list(read_records(tmp_path / "empty", name))


@pytest.mark.parametrize("name", [n for n in NAMES if n not in PACKED])
def test_gz_is_read_and_written(name: str, tmp_path: Path) -> None:
    path = target(name, tmp_path)
    packed = path.with_name(path.name + ".gz")
    write(DOCUMENTS, packed, name)
    assert packed.read_bytes()[:2] == b"\x1f\x8b"
    assert [d.id for d in read(packed, name)] == ["101", "102", "103"]
    packed.write_bytes(packed.read_bytes()[:-12])
    with pytest.raises(StorageError, match=r"not a whole \.gz file"):
        list(read(packed, name))


def test_ids_made_from_places_are_unique_over_files(tmp_path: Path) -> None:
    for part in ("dev", "train"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "x.conll").write_text("a\tO\n\nb\tO\n")
        (tmp_path / part / "x.jsonl").write_text('{"text": "a"}\n')
        (tmp_path / part / "x.txt").write_text("a")
    told = {name: [d.id for d in read(tmp_path, name)] for name in ("conll", "jsonl", "brat")}
    assert told["conll"] == ["dev/x.conll:1", "dev/x.conll:2", "train/x.conll:1", "train/x.conll:2"]
    assert told["jsonl"] == ["dev/x.jsonl:1", "train/x.jsonl:1"]
    assert told["brat"] == ["dev/x", "train/x"]


@pytest.mark.parametrize("path", [".", "*/*.jsonl", "[a-z]*/x.jsonl"])
def test_ids_and_names_of_files_stay_when_files_are_added(path: str, tmp_path: Path) -> None:
    def add(part: str) -> None:
        (tmp_path / part).mkdir()
        (tmp_path / part / "x.jsonl").write_text('{"text": "a"}\n')

    add("b")
    before = [d.id for d in read(tmp_path / path, "jsonl")], contents(tmp_path / path, "jsonl")
    assert before[0] == ["b/x.jsonl:1"]
    add("c")
    after = [d.id for d in read(tmp_path / path, "jsonl")], contents(tmp_path / path, "jsonl")
    assert [after[0][:1], after[1][:1]] == [before[0], before[1]]
    assert [d.id for d in read(tmp_path / "b" / "x.jsonl", "jsonl")] == ["1"]
