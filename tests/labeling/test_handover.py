"""Labels handed over: each labeled note once, in order, and never beside a text that was edited since."""

from dataclasses import replace
from pathlib import Path

import pytest

from clinnlp.core.document import Document, Quarantined
from clinnlp.errors import ChangedError, ConfigError
from clinnlp.formats.base import Format, read
from clinnlp.formats.brat import Brat
from clinnlp.formats.csv import Csv
from clinnlp.formats.docbin import Docbin
from clinnlp.labeling.handover import hand_over, labeled
from clinnlp.labeling.options import Options
from clinnlp.labeling.plan import Record
from clinnlp.labeling.source import InMemory
from clinnlp.labeling.store import LocalStore
from tests.labeling.fakes import label, notes

ODD = ["=HYPERLINK(1)", '"quoted", a\r\nline', "\U0001f600\x00", "", "None", "-1+1"]


def records() -> list[Record]:
    odd: list[Record] = [Document(f"=odd {number}", text) for number, text in enumerate(ODD)]
    return [*notes(2), Quarantined("n.jsonl line 3", "torn"), *notes(1, 3, "RAISE"), *odd]


def test_every_labeled_note_comes_once_in_order_and_those_set_aside_do_not(tmp_path: Path) -> None:
    counts = label(tmp_path / "run", records())
    wanted = ["note-0", "note-1", *(f"=odd {number}" for number in range(len(ODD)))]
    found = list(labeled(LocalStore(tmp_path / "run"), InMemory(records())))
    assert [document.id for document in found] == wanted and len(found) == counts.labeled
    assert [len(document.spans) for document in found] == [1 if document.text.strip() else 0 for document in found]
    written = hand_over(LocalStore(tmp_path / "run"), InMemory(records()), Csv(), str(tmp_path / "to.csv"))
    assert written["documents"] == len(wanted)
    assert list(read(tmp_path / "to.csv", "csv")) == found, "cell by cell, formulas and line ends too"


def test_notes_that_were_edited_since_are_refused(tmp_path: Path) -> None:
    label(tmp_path, notes(7))
    edited = [replace(note, text="edited") if n == 4 else note for n, note in enumerate(notes(7))]  # type: ignore
    found = labeled(LocalStore(tmp_path), InMemory(edited))
    assert [next(found).id for _ in range(3)] == ["note-0", "note-1", "note-2"]
    with pytest.raises(ChangedError, match="the notes of shard 1 are not those that were labeled") as error:
        next(found)
    assert error.value.exit_status == 4


@pytest.mark.parametrize("format", [Brat(), Docbin()])
def test_a_folder_appears_when_all_of_it_is_there(format: Format, tmp_path: Path) -> None:
    label(tmp_path / "run", notes(7))
    edited = [replace(note, text="edited") if n == 6 else note for n, note in enumerate(notes(7))]  # type: ignore
    with pytest.raises(ChangedError):
        hand_over(LocalStore(tmp_path / "run"), InMemory(edited), format, str(tmp_path / "to"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "no part of it, that would pass for the whole"
    (tmp_path / ".to.part" / "made" / "to").mkdir(parents=True)
    (tmp_path / ".to.part" / "made" / "to" / "note-99.txt").write_text("what a killed process left")
    assert hand_over(LocalStore(tmp_path / "run"), InMemory(notes(7)), format, str(tmp_path / "to"))["documents"] == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "to"]
    assert len(list(read(tmp_path / "to", format))) == 7


def test_of_a_run_that_is_not_finished_what_is_committed(tmp_path: Path) -> None:
    label(tmp_path, notes(7), options=Options(shard_documents=3, workers=0))
    (tmp_path / "commits/000/000001.json").unlink()
    found = [document.id for document in labeled(LocalStore(tmp_path), InMemory(notes(7)))]
    assert found == ["note-0", "note-1", "note-2", "note-6"]
    for path in (tmp_path / "spans").iterdir():
        path.unlink()
    with pytest.raises(ConfigError, match=r"spans/.*\.parquet is missing.* Next: give the label command again"):
        list(labeled(LocalStore(tmp_path), InMemory(notes(7))))
    with pytest.raises(ConfigError, match="no labels here"):
        list(labeled(LocalStore(tmp_path / "nowhere"), InMemory([])))
