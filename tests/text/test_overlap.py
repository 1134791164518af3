"""What a pretraining corpus holds of test notes: whole, nearly, and in runs of words."""

import random

from clinnlp.core.document import Document
from clinnlp.text import overlap
from clinnlp.text.duplicates import jaccard
from clinnlp.text.overlap import Overlap, overlaps

WORDS = [f"w{number}" for number in range(400)]


def documents(*texts: str) -> list[Document]:
    return [Document(str(number), text) for number, text in enumerate(texts)]


def test_overlap_by_hand() -> None:
    draw = random.Random(0)
    near = draw.sample(WORDS, 100)
    changed = [*near[:50], "changed", *near[51:]]
    assert 0.8 < jaccard(" ".join(near), " ".join(changed)) < 1
    notes = documents(
        "Held word for word, a b c d e f.",  # 10 words: 3 runs of 8
        "HELD  word for word, a b c d e f.",
        " ".join(near),  # 93 runs, 8 of which the changed word breaks
        "one two three four five six seven eight nine ten",  # 3 runs, of which the corpus holds the first
        "No fever.",  # too short for a run
        "",
    )
    corpus = documents(
        "held word for word, a b c d e f.",
        " ".join(changed),
        "before that one two three four five six seven eight, and then no fever.",
    )
    (found,) = overlaps({"test": notes}, iter(corpus)).values()
    assert found.as_dict() == {
        "notes": 5,
        "exact": 2,
        "near": 1,
        "notes with runs": 4,
        "half seen": 3,
        "runs": 3 + 93 + 3,
        "runs seen": 3 + 85 + 1,
    }


def test_batches_make_no_difference(monkeypatch) -> None:
    draw = random.Random(1)
    texts = [" ".join(draw.choices(WORDS, k=40)) for _ in range(60)]
    whole = overlaps({"test": documents(*texts[:20])}, documents(*texts[10:]))["test"].as_dict()
    assert (whole["notes"], whole["exact"]) == (20, 10)
    monkeypatch.setattr(overlap, "BATCH", 7)
    assert overlaps({"test": documents(*texts[:20])}, documents(*texts[10:]))["test"].as_dict() == whole


def test_nothing_to_compare() -> None:
    found = Overlap(documents("", "  "))
    found.read(["some text of a corpus"])
    assert set(found.as_dict().values()) == {0}
    assert overlaps({"test": documents("No fever.")}, [])["test"].as_dict()["exact"] == 0
