"""What a split holds, counted by hand and on the open corpora."""

import random
import zipfile
from pathlib import Path

import pytest

from clinnlp.core.document import Document, Span
from clinnlp.formats.base import read
from clinnlp.formats.brat import Brat
from clinnlp.formats.csv import Csv
from clinnlp.formats.jsonl import Jsonl
from clinnlp.text.duplicates import index_texts
from clinnlp.text.profile import conflicts, distribution, profile, structure


def corpus(shared: Path, name: str) -> Path:
    folder = shared / "data" / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not in the shared folder")
    return folder


def test_profile_by_hand() -> None:
    documents = [
        Document("1", "fever", (Span(0, 5, "X"),), ("a", "b"), group="p"),
        Document("1", "  ", group="p"),
        Document("2", "no cough", (Span(3, 8, "X"), Span(0, 2, "Y")), ("a",)),
    ]
    found = profile(documents)
    assert found["characters"] == {"sum": 15, "mean": 5.0, "min": 2, "p5": 2, "median": 5, "p95": 8, "max": 8}
    assert (found["notes"], found["groups"], found["notes without group"]) == (3, 1, 1)
    assert (found["repeated ids"], found["empty"]) == (1, 1)
    assert (found["spans"], found["span labels"], found["notes without spans"]) == (3, {"X": 2, "Y": 1}, 1)
    assert (found["labels"], found["notes without labels"]) == ({"a": 2, "b": 1}, 1)


def test_nothing_has_no_distribution() -> None:
    assert distribution([]) == {
        "sum": 0, "mean": None, "min": None, "p5": None, "median": None, "p95": None, "max": None,
    }  # fmt: skip
    assert profile([])["groups"] is None


def test_structure_by_hand() -> None:
    spans = (
        Span(0, 10, "X"),
        Span(0, 10, "X"),  # repeated
        Span(0, 10, "Y"),  # a second label at the same place
        Span(2, 4, "X"),  # nested in one place that three spans have
        Span(8, 12, "X"),  # crosses it
        Span(0, 10, "X", fragments=((0, 1), (9, 10))),  # a place of its own: holds the one, crosses the other
        Span(12, 20, "X", fragments=((12, 14), (18, 20))),  # only touches the one before
    )
    documents = [Document("1", "x" * 20, spans), Document("2", "")]
    assert structure(documents) == {
        "discontinuous": 2, "repeated": 1, "several labels": 1, "nested pairs": 2, "crossing pairs": 2,
    }  # fmt: skip


def test_pairs_are_those_of_all_pairs() -> None:
    draw = random.Random(0)
    for _ in range(30):
        bounds = list({tuple(sorted(draw.sample(range(30), 2))) for _ in range(12)})
        nested = crossing = 0
        for place, (a, b) in enumerate(bounds):
            for c, d in bounds[place + 1 :]:
                if max(a, c) < min(b, d) and (a, b) != (c, d):
                    inside = (a <= c and d <= b) or (c <= a and b <= d)
                    nested, crossing = nested + inside, crossing + (not inside)
        found = structure([Document("1", "x" * 30, tuple(Span(a, b, "X") for a, b in bounds))])
        assert (found["nested pairs"], found["crossing pairs"]) == (nested, crossing)


def test_conflicts_by_hand() -> None:
    documents = [
        Document("1", "fever", (Span(0, 5, "X"),), ("a", "b")),
        Document("2", "fever", (Span(0, 5, "X"),), ("b", "a")),  # the order of labels does not matter
        Document("3", "fever", (Span(0, 5, "Y"),), ("a", "b")),
        Document("4", "cough", labels=("a",)),
        Document("5", "cough", labels=()),
        Document("6", "", labels=("a",)),
        Document("7", "", labels=("b",)),
    ]
    places = index_texts({"train": documents}, str).places["train"].tolist()
    assert conflicts(documents, places, "labels") == {"texts": 1, "of": 2, "notes": 2}
    assert conflicts(documents, places, "spans") == {"texts": 1, "of": 2, "notes": 3}


def test_mtsamples_gives_most_texts_several_specialties(shared: Path) -> None:
    reader = Jsonl(id_field="note_id", text_field="transcription", labels_field="medical_specialty")
    bad: list = []
    documents = list(read(corpus(shared, "mtsamples") / "mtsamples.jsonl", reader, bad))
    index = index_texts({"all": documents}, str)
    assert (len(documents), len(bad)) == (4966, 33), "33 rows have no text"
    assert index.as_dict()["within"]["all"] == {"notes": 4966, "distinct": 2357, "repeated": 2609}
    # 2,149 with the missing text, which stands under 8 specialties
    assert conflicts(documents, index.places["all"].tolist(), "labels") == {"texts": 2148, "of": 2357, "notes": 4755}


def test_mts_dialog_repeats_notes(shared: Path) -> None:
    folder = corpus(shared, "mts_dialog") / "Main-Dataset"
    reader = Csv(id_field="ID", text_field="section_text", labels_field="section_header")
    files = {"train": "TrainingSet", "dev": "ValidationSet", "test": "TestSet-1-MEDIQA-Chat-2023"}
    parts = {name: list(read(folder / f"MTS-Dialog-{file}.csv", reader)) for name, file in files.items()}
    found = index_texts(parts, str).as_dict()
    assert found["within"]["train"] == {"notes": 1201, "distinct": 1071, "repeated": 130}
    assert found["across"]["train/test"]["texts"] == 18
    labels = profile(parts["train"])["labels"]
    assert (len(labels), sum(count <= 5 for count in labels.values())) == (20, 4)


@pytest.mark.slow
def test_chia_is_nested_and_discontinuous(shared: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(corpus(shared, "chia") / "chia_with_scope.zip") as packed:
        packed.extractall(tmp_path)
    found = profile(list(read(tmp_path, Brat(mismatches="count"))))
    assert (found["notes"], found["spans"], found["empty"], found["notes without spans"]) == (2000, 48870, 3, 19)
    assert found["structure"] == {
        "discontinuous": 1822, "repeated": 29, "several labels": 761, "nested pairs": 20019, "crossing pairs": 76,
    }  # fmt: skip
