"""`clinnlp validate`, and `convert` to and from a database and spaCy's files."""

import sqlite3
from pathlib import Path

import pytest

import clinnlp
from tests.recipes.command import clinnlp as command
from tests.recipes.command import write_jsonl

NOTES = [
    {"id": "1", "text": "No fever.", "group": "7", "labels": ["a"], "spans": [{"start": 3, "end": 8, "label": "P"}]},
    {"id": "2", "text": "Qvortrup\r\n" + "x" * 300, "group": "8", "spans": [{"start": 0, "end": 310, "label": "ALL"}]},
]  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "a.jsonl", NOTES)


def told(path: Path | str, format: str) -> list[tuple[str, str, str | None, list[tuple[int, int, str]]]]:
    return [(d.id, d.text, d.group, [s.key[:3] for s in d.spans]) for d in clinnlp.read(path, format)]


def test_into_a_new_file_out_again_and_proven(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("convert", source, tmp_path / "b.sqlite", "--to", "omop") == 0
    assert (
        "wrote 2 documents, 2 spans, 0 notes not in database, 0 notes with other text, 2 notes added, 1 lexical "
        "variants shortened, 0 term modifiers shortened, 0 nuls replaced, 1 labels not representable"
    ) in capsys.readouterr().err
    assert command("convert", tmp_path / "b.sqlite", tmp_path / "c.jsonl", "--from", "omop") == 0
    assert told(tmp_path / "c.jsonl", "jsonl") == told(source, "jsonl")
    assert command("validate", tmp_path / "b.sqlite") == 0
    assert "2 rows = 1 exact + 1 exact as far as their columns hold them + 0 wrong" in capsys.readouterr().err
    assert command("convert", source, tmp_path / "b.sqlite", "--to", "omop") == 5


def test_a_url_is_written_to_as_often_as_one_likes(source: Path, tmp_path: Path) -> None:
    command("convert", source, tmp_path / "b.sqlite", "--to", "omop")
    url = f"sqlite:///{tmp_path}/b.sqlite"
    for _ in range(2):
        assert command("convert", source, url, "--to", "omop", "--to.system", "again") == 0
    assert [len(d.spans) for d in clinnlp.read(url, "omop")] == [1, 1]
    with sqlite3.connect(tmp_path / "b.sqlite") as held:
        counted = held.execute("SELECT nlp_system, count(*) FROM note_nlp GROUP BY nlp_system").fetchall()
    assert counted == [("again", 2), ("clinnlp", 2)]


def test_rows_that_fail_are_named_and_the_status_says_so(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("convert", source, tmp_path / "b.sqlite", "--to", "omop")
    with sqlite3.connect(tmp_path / "b.sqlite") as held:
        held.execute("UPDATE note_nlp SET \"offset\" = '1' WHERE note_id = 2")
    capsys.readouterr()
    assert command("validate", f"sqlite:///{tmp_path}/b.sqlite") == 7
    err = capsys.readouterr().err
    assert "note_nlp_id 2: lexical_variant is not what stands at its offset" in err
    assert (
        "clinnlp: error[CLN-I7] 1 of 2 rows of note_nlp are not what stands in their notes. Kept: everything. Next: "
        "write the labels of these notes again, from the texts that are in the database.\n"
    ) in err
    assert "Qvortrup" not in err


def test_only_omop_can_be_validated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("validate", tmp_path / "b.sqlite", "--format", "jsonl") == 2
    assert "format: only omop has rows to validate. Next: leave it out." in capsys.readouterr().err
    assert command("validate", tmp_path / "b.sqlite") == 2
    assert "no such file" in capsys.readouterr().err


def test_spacy_files_there_and_back(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("convert", source, tmp_path / "b.spacy", "--to", "docbin") == 0
    assert "wrote 2 documents, 2 spans, 0 spans not in ents, 0 texts not" in capsys.readouterr().err
    assert command("convert", tmp_path / "b.spacy", tmp_path / "c.jsonl", "--from", "docbin") == 0
    assert told(tmp_path / "c.jsonl", "jsonl") == told(source, "jsonl")


def test_a_training_run_knows_its_database_by_what_it_streams(source: Path, tmp_path: Path) -> None:
    from clinnlp.formats.omop import Omop
    from clinnlp.recipes._data import data_sha256

    command("convert", source, tmp_path / "b.sqlite", "--to", "omop")
    url, notes = f"sqlite:///{tmp_path}/b.sqlite", Omop(read_spans=False)
    before = data_sha256(url, Omop()), data_sha256(url, notes)
    with sqlite3.connect(tmp_path / "b.sqlite") as held:
        held.execute("DELETE FROM note_nlp")
    assert data_sha256(url, Omop()) != before[0]
    assert data_sha256(url, notes) == before[1]
    with sqlite3.connect(tmp_path / "b.sqlite") as held:
        held.execute("UPDATE note SET note_text = 'No cough.' WHERE note_id = 1")
    assert data_sha256(url, notes) != before[1]
