"""Repeated texts: exact ones counted by hand, near ones against all pairs, and no quadratic work."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinnlp.core.document import Document
from clinnlp.text import duplicates
from clinnlp.text.duplicates import index_texts, jaccard, near_counts, near_sets, normalised, shingles, words

VOCABULARY = [f"w{number}" for number in range(5000)]


def note(draw: random.Random, size: int) -> list[str]:
    return draw.choices(VOCABULARY, k=size)


def pair_of(draw: random.Random, low: float, high: float) -> tuple[str, str]:
    """Two texts whose similarity lies between two bounds."""
    while True:
        one = note(draw, 300)
        other = list(one)
        # each word that changes takes 5 of 296 shingles with it
        for _ in range(draw.randint(1, 12)):
            other[draw.randrange(300)] = draw.choice(VOCABULARY)
        if low <= jaccard(" ".join(one), " ".join(other)) <= high:
            return " ".join(one), " ".join(other)


def documents(*texts: str) -> list[Document]:
    return [Document(str(number), text) for number, text in enumerate(texts)]


def test_words_and_shingles() -> None:
    assert normalised("  No  FEVER,\r\nno Cough ") == "no fever, no cough"
    assert words("Straße 5mg, b.i.d.") == ["strasse", "5mg", "b", "i", "d"]
    assert words("患者は発熱") == list("患者は発熱"), "a script without spaces: each character is a word"
    assert shingles("A b, c D e f") == ["a b c d e", "b c d e f"]
    assert shingles("No fever.") == ["no fever"]
    assert shingles("No fever.", whole=False) == shingles("... !") == []


def test_similarity_by_hand() -> None:
    # {abcde, bcdef} and {abcde, bcdeg}: one of three shingles is shared
    assert jaccard("a b c d e f", "a b c d e g") == pytest.approx(1 / 3)
    assert jaccard("A B C D E F", "a, b, c, d, e, f.") == 1.0
    assert np.isnan(jaccard("", "?"))


def test_exact_duplicates_by_hand() -> None:
    parts = {
        "train": documents("No fever", "no  fever", "Cough", "Cough", " "),
        "test": documents("Cough", "NO FEVER", ""),
    }
    verbatim = index_texts(parts, str).as_dict()
    assert verbatim["within"] == {
        "train": {"notes": 4, "distinct": 3, "repeated": 1},  # the blank note is no text
        "test": {"notes": 2, "distinct": 2, "repeated": 0},
    }
    assert verbatim["across"] == {"train/test": {"texts": 1, "notes of train": 2, "notes of test": 1}}
    plain = index_texts(parts).as_dict()
    assert plain["within"]["train"] == {"notes": 4, "distinct": 2, "repeated": 2}
    assert plain["across"] == {"train/test": {"texts": 2, "notes of train": 4, "notes of test": 2}}


def test_near_duplicates_are_counted_apart_from_exact_ones() -> None:
    draw = random.Random(1)
    one, other = pair_of(draw, 0.85, 0.95)
    third = " ".join(note(draw, 50))
    parts = {"train": documents(one, third, one), "dev": documents(other, third), "test": documents(other, "", "short")}
    index = index_texts(parts)
    counts = near_counts(index, near_sets(index.texts))
    assert (counts["sets"], counts["texts"], counts["largest"]) == (1, 2, 2)
    assert counts["within"] == {"train": {"notes": 0}, "dev": {"notes": 0}, "test": {"notes": 0}}
    assert counts["across"] == {
        "train/dev": {"notes of train": 2, "notes of dev": 1},
        "train/test": {"notes of train": 2, "notes of test": 1},
        "dev/test": {"notes of dev": 0, "notes of test": 0},  # the same text: an exact duplicate
    }


def test_recall_at_a_similarity_of_08_and_nothing_less_alike() -> None:
    draw = random.Random(2)
    alike = [pair_of(draw, 0.8, 0.83) for _ in range(120)]
    unlike = [pair_of(draw, 0.7, 0.799) for _ in range(40)]
    texts = [text for pair in alike + unlike for text in pair]
    texts += [" ".join(note(draw, 100)) for _ in range(300)]
    sets = near_sets(texts)
    found = sets[0:240:2] == sets[1:240:2]
    assert found.mean() >= 0.95
    assert (sets[240:320:2] != sets[241:320:2]).all()
    assert len(set(sets.tolist())) == len(texts) - found.sum()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), min_size=0, max_size=12).map(" ".join), max_size=12))
def test_sets_are_made_of_pairs_that_are_alike(texts: list[str]) -> None:
    sets = near_sets(texts, 0.5).tolist()
    joined = list(range(len(texts)))  # components of all pairs, by brute force
    for _ in texts:
        for one, first in enumerate(texts):
            for other, second in enumerate(texts):
                if jaccard(first, second) >= 0.5:
                    joined[other] = joined[one] = min(joined[one], joined[other])
    for one, name in enumerate(sets):
        assert name <= one and joined[one] == joined[name], "never joined without a chain of similar texts"
        same = [other for other, text in enumerate(texts) if shingles(text) == shingles(texts[one]) and shingles(text)]
        assert {sets[other] for other in same} <= {name}, "equal words always meet"


def test_a_large_set_costs_no_more_than_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(3)
    base = note(draw, 200)
    texts = [" ".join([*base[:place], f"changed{place}", *base[place + 1 :]]) for place in range(200)] * 3
    texts = [f"{text} {number}" for number, text in enumerate(texts)]
    calls = 0
    alike = duplicates._alike

    def counted(one: duplicates.Numbers, other: duplicates.Numbers) -> float:
        nonlocal calls
        calls += 1
        return alike(one, other)

    monkeypatch.setattr(duplicates, "_alike", counted)
    assert set(near_sets(texts).tolist()) == {0}
    assert calls < 3 * len(texts), "of 179,700 pairs"


def test_sets_do_not_depend_on_the_hash_seed_of_the_process() -> None:
    program = (
        "import random; from clinnlp.text.duplicates import near_sets; draw = random.Random(4);"
        "base = [str(n) for n in range(60)];"
        "texts = [' '.join(draw.choice('xy') + w if draw.random() < 0.02 else w for w in base) for _ in range(60)];"
        "print(near_sets(texts).tolist())"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
