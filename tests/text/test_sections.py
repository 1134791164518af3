import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinnlp.text.sections import Section, section_names, sections

NOTE = """Dictated by the resident.
HISTORY OF PRESENT ILLNESS: Chest pain since 10:30.
It began at rest.

Past medical history : none
RESULTS
Troponin was high, see below
Assessment & Plan (draft):
  Family/social history:
admit to the ward for two days and then observe: nothing else
"""


def names(text: str) -> list[str]:
    return [section.name for section in sections(text)]


def test_headers_of_a_note() -> None:
    assert names(NOTE) == [
        "HISTORY OF PRESENT ILLNESS",
        "PAST MEDICAL HISTORY",
        "RESULTS",
        "ASSESSMENT & PLAN (DRAFT)",
        "FAMILY/SOCIAL HISTORY",
    ]


def test_a_section_runs_from_its_header_to_the_next() -> None:
    text = "Seen today.\nImpression: stable.\nPLAN\nnone"
    assert sections(text) == (Section(12, 32, "IMPRESSION"), Section(32, 41, "PLAN"))
    assert text[12:32] == "Impression: stable.\n"
    assert text[32:41] == "PLAN\nnone"


def test_a_span_is_in_the_section_in_which_it_begins() -> None:
    text = "Seen today.\nImpression: stable.\nPLAN\nnone"
    bounds = [(37, 41), (0, 4), (24, 30), (12, 22), (11, 13), (31, 33)]  # in any order; in a header; across borders
    assert section_names(text, bounds) == ("PLAN", "(none)", "IMPRESSION", "IMPRESSION", "(none)", "IMPRESSION")
    assert section_names("no header", [(0, 2)]) == ("(none)",)
    assert section_names("", []) == ()


@pytest.mark.parametrize(
    "line",
    [
        "the patient says: it hurts",  # no capital
        "He says that it has hurt since Monday: badly",  # more than six words
        "10:30 the pain began",
        "Dr. Smith: seen",  # a full stop
        "1. Hypertension: stable",  # an item of a list
        "See http://example.org",
        "Pain, worse at night: yes",
        "- Cough: yes",
        "CT",  # too short
        "A LINE OF MORE THAN SIX WORDS HERE",
        "BP 120/80, HR: 80",
        "X",
        "",
    ],
)
def test_what_is_no_header(line: str) -> None:
    assert names(f"{line}\nand more in small letters") == []


def test_lines_in_capitals_count_only_in_notes_that_are_not() -> None:
    assert names("RESULTS\nnormal blood count") == ["RESULTS"]
    assert names("PLAN: REST\nSEEN AND EXAMINED\nDISCHARGED HOME") == ["PLAN"]


def test_headers_between_commas_where_newlines_were_lost() -> None:
    text = "SUBJECTIVE:,  A cough.,MEDICATIONS: , None.,Neck: , supple, BP: 120/80, HR: 70"
    assert names(text) == ["SUBJECTIVE", "MEDICATIONS"]
    assert section_names(text, [(text.index("None"), text.index("None") + 4)]) == ("MEDICATIONS",)


def test_line_ends_and_blanks_do_not_matter() -> None:
    assert names("IMPRESSION\r\nstable\r\n\tPlan :\r\nrest and fluids") == ["IMPRESSION", "PLAN"]
    assert names("PAST   MEDICAL\tHISTORY: none") == ["PAST MEDICAL HISTORY"]


def test_letters_of_other_languages() -> None:
    assert names("Ärztlicher Befund: gut\nÉVOLUTION\nfavorable sans fièvre") == ["ÄRZTLICHER BEFUND", "ÉVOLUTION"]


@given(st.text(st.sampled_from("ABab :\n,\r\t.1éß\u2028"), max_size=200))
def test_sections_lie_in_the_text_one_after_the_other(text: str) -> None:
    found = sections(text)
    for one, after in pairwise(found):
        assert one.end == after.start
    for section in found:
        assert 0 <= section.start < section.end <= len(text)
        assert section.name == section.name.upper() == " ".join(section.name.split()) != ""
    assert not found or found[-1].end == len(text)


@pytest.mark.parametrize("text", ["A" * 200_000, "A " * 100_000, "Aa\n" * 70_000, ",A" * 100_000, " " * 200_000])
def test_no_text_takes_long(text: str) -> None:
    start = time.process_time()
    sections(text)
    assert time.process_time() - start < 5  # 0.1 s each


def test_mtsamples_has_the_sections_of_clinical_notes(shared: Path) -> None:
    path = shared / "data" / "mtsamples" / "mtsamples.jsonl"
    if not path.is_file():
        pytest.skip("MTSamples is not in the shared folder")
    import json
    from collections import Counter

    texts = {json.loads(line)["transcription"] or "" for line in path.read_bytes().decode().split("\n") if line}
    found = Counter(name for text in texts for name in {section.name for section in sections(text)})
    expected = ["PHYSICAL EXAMINATION", "ALLERGIES", "IMPRESSION", "PAST MEDICAL HISTORY", "FAMILY HISTORY", "PLAN"]
    assert all(found[name] > 250 for name in expected)
    with_any = sum(bool(sections(text)) for text in texts)
    assert with_any / len(texts) > 0.9
