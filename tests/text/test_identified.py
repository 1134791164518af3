"""Text that looks identified or credentialed: each kind by example, and what only resembles it."""

import time
from itertools import islice
from pathlib import Path

import pytest

from clinnlp.core.document import Document
from clinnlp.formats.base import read
from clinnlp.text.identified import FIELDS, KINDS, find_identified

EXAMPLES = {
    "[**...**] placeholder, as in MIMIC-III": (
        ("seen by [**First Name8 (NamePattern2)**] on [**2151-7-16**]", 2),
        ("[** **]", 1),
        ("[*x*] and [** no end", 0),
    ),
    "___ placeholder, as in MIMIC-IV": (("Name: ___ Unit No: ___", 2), ("______ and a__b and __", 0)),
    FIELDS: (("HADM_ID,subject_id", 2), ("subject id", 0), ("my_hadm_ids", 0)),
    "record number or record date, as in i2b2": (
        ("RECORD #12\nRecord date: 2067-05-03", 2),
        ("off the record 2067-05-03", 0),
    ),
    "medical record number": (
        ("MRN: 00123456", 1),
        ("Medical Record No. AB-1234567", 1),
        ("NHC: 368503, unit no: 12345", 2),
        ("MRN pending; MR 3+", 0),
    ),
    "telephone number": (
        ("call 713-263-0829 or (713) 263-0829 or 1-888-346-3656", 3),
        ("2023-01-12, 120/80, 1234-567-8901, 12.5-300.25", 0),
    ),
    "international telephone number": (("+34 679 80 21 02", 1), ("2+ 500 mg, reflexes +2 4", 0)),
    "e-mail address": (("write to jane.doe+x@mail.example.org.", 1), ("a@b and 5 @ 10.0", 0)),
    "date of birth": (
        ("DOB: 1/2/1951; Date of birth 12 May 1970", 2),
        ("born on October 31, 2008", 1),
        ("Fecha de nacimiento: 03/02/1951. Geburtsdatum: 3.2.1951", 2),
        ("birth weight 3.2 kg, 1/2/1951", 0),
    ),
    "US social security number": (("SSN 123-45-6789", 1), ("000-12-3456, 123-45-67890, 666-12-1234, 900-11-1111", 0)),
}


def test_every_kind_has_examples() -> None:
    assert EXAMPLES.keys() == KINDS.keys()


@pytest.mark.parametrize(("kind", "text", "count"), [(k, *example) for k, some in EXAMPLES.items() for example in some])
def test_a_kind(kind: str, text: str, count: int) -> None:
    found = find_identified([Document("1", text)])
    assert found.as_dict().get(kind) == ({"notes": 1, "matches": count} if count else None)


def test_notes_and_matches_are_counted_apart_and_fields_by_their_name() -> None:
    documents = [
        Document("1", "___ ___"),
        Document("2", "___", meta={"hadm_id": 7, "Subject_ID": 8}),
        Document("3", ""),
    ]
    assert find_identified(documents).as_dict() == {
        "___ placeholder, as in MIMIC-IV": {"notes": 2, "matches": 3},
        FIELDS: {"notes": 1, "matches": 2},
    }


@pytest.mark.parametrize(
    "piece", ["a", "a.", "1", "1-", "1 ", "[**", "___", "+1 ", "a@", "a@a.", "born 1", "mrn ", "("]
)
def test_no_text_makes_the_patterns_slow(piece: str) -> None:
    start = time.process_time()
    find_identified([Document("1", piece * 50_000 + " 5-5555 mrn @ _id record")])
    assert time.process_time() - start < 5


def test_meddocan_names_its_patients(shared: Path) -> None:
    folder = shared / "data" / "meddocan" / "train" / "brat"
    if not folder.is_dir():
        pytest.skip("meddocan is not in the shared folder")
    documents = list(islice(read(folder, "brat"), 100))
    found = find_identified(documents).as_dict()
    for kind in ("date of birth", "medical record number", "e-mail address"):
        assert found[kind]["notes"] > 0.9 * len(documents), kind
