"""Notes from one format to another and back."""

from pathlib import Path

import pytest

import clinnlp
from tests.recipes.command import clinnlp as command


def spans(path: Path, format: str) -> list[tuple[str, str, list[tuple[int, int, str]]]]:
    return [(d.id, d.text, [(s.start, s.end, s.label) for s in d.spans]) for d in clinnlp.read(path, format)]


@pytest.mark.parametrize(("format", "name"), [("brat", "b"), ("parquet", "b.parquet"), ("csv", "b.csv")])
def test_there_and_back_is_the_same(
    format: str, name: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, there, back = corpus / "test.jsonl", tmp_path / name, tmp_path / "back.jsonl"
    assert command("convert", source, there, "--from", "jsonl", "--to", format) == 0
    assert "read 12 documents with 24 spans; wrote 12 documents, 24 spans" in capsys.readouterr().err
    assert command("convert", there, back, "--from", format, "--to", "jsonl") == 0
    assert sorted(spans(back, "jsonl")) == sorted(spans(source, "jsonl"))


def test_what_the_target_cannot_hold_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("left and right arm")
    (tmp_path / "a.ann").write_text("T1\tARM 0 4;15 18\tleft arm\nT2\tARM 9 18\tright arm\n")
    assert command("convert", tmp_path / "a.txt", tmp_path / "a.conll", "--from", "brat", "--to", "conll") == 0
    assert (
        "wrote 1 documents, 1 spans, 1 spans not representable, 0 labels not representable" in capsys.readouterr().err
    )


def test_bad_records_are_named_and_the_status_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "1", "text": "ok"}\n{"text": "Qvortrup\n')
    assert command("convert", tmp_path / "a.jsonl", tmp_path / "b.jsonl") == 3
    told = capsys.readouterr().err
    assert "warning: set aside: a.jsonl line 2: not valid JSON at character" in told
    assert "Qvortrup" not in told
    assert [d.id for d in clinnlp.read(tmp_path / "b.jsonl", "jsonl")] == ["1"]


@pytest.mark.parametrize(("target", "name"), [("jsonl", "b.jsonl"), ("brat", "b"), ("docbin", "b"), ("omop", "b.db")])
def test_nothing_is_written_where_no_record_can_be_read(
    target: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text('{"id": "1", "note": "Qvortrup"}\n{"id": "2", "note": "ok"}\n')
    assert command("convert", source, tmp_path / name, "--to", target) == 2
    assert capsys.readouterr().err == (
        f"clinnlp: error[CLN-D2] {source}: none of the 2 records can be read; the first, a.jsonl line 1: field 'text' "
        "is missing: if another field holds the note, set text_field. Kept: nothing was written. Next: check --from "
        "and its options.\n"
    )
    assert command("convert", source, tmp_path / name, "--to", target, "--from.text_field", "note") == 0
    assert [d.text for d in clinnlp.read(tmp_path / name, target)] == ["Qvortrup", "ok"]


def test_a_target_that_is_there_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "1", "text": "ok"}\n')
    (tmp_path / "b.jsonl").write_text("mine")
    assert command("convert", tmp_path / "a.jsonl", tmp_path / "b.jsonl") == 5
    assert capsys.readouterr().err == (
        f"clinnlp: error[CLN-O5] {tmp_path}/b.jsonl: the target is there already. Kept: it. Next: choose a new DST.\n"
    )
    assert (tmp_path / "b.jsonl").read_text() == "mine"


def test_options_of_a_format(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("fever B-X NN\nand O CC\n\n")
    words = ("--from", "conll", "--from.tag_column", 1)
    assert command("convert", tmp_path / "a.conll", tmp_path / "b.jsonl", *words) == 0
    assert spans(tmp_path / "b.jsonl", "jsonl") == [("1", "fever and", [(0, 5, "X")])]
