"""Splits: no patient and no text in two of them, whatever the order, the labels or the process."""

import random
import subprocess
import sys

import pytest

from clinnlp.core.document import Document
from clinnlp.errors import ConfigError, DataError
from clinnlp.text.splits import duplicate_ids, split


def notes(count: int, groups: int) -> list[Document]:
    return [Document(str(n), f"note {n}", group=f"p{n % groups}") for n in range(count)]


def ids(made: dict[str, list[Document]]) -> dict[str, set[str]]:
    return {name: {d.id for d in held} for name, held in made.items()}


def test_no_group_is_cut_and_none_is_lost() -> None:
    documents = notes(1000, 100)
    made = split(documents)
    assert {name: len(held) for name, held in made.items()} == {"train": 800, "dev": 100, "test": 100}
    groups = {name: {d.group for d in held} for name, held in made.items()}
    assert not groups["train"] & groups["dev"] | groups["train"] & groups["test"] | groups["dev"] & groups["test"]
    assert sum(len(held) for held in made.values()) == 1000
    assert [d.id for d in made["dev"]] == sorted((d.id for d in made["dev"]), key=int)


def test_equal_texts_without_group_stay_together() -> None:
    documents = [Document(str(n), f"note {n % 40}") for n in range(400)]
    texts = [{d.text for d in held} for held in split(documents).values()]
    assert sum(map(len, texts)) == 40


def test_order_and_labels_do_not_matter_and_the_seed_does() -> None:
    documents = notes(300, 60)
    shuffled = [Document(d.id, d.text, labels=("X",), group=d.group) for d in documents]
    random.Random(1).shuffle(shuffled)
    assert ids(split(documents)) == ids(split(shuffled))
    assert ids(split(documents)) != ids(split(documents, seed=1))


def test_hash_seed_of_the_process_does_not_matter() -> None:
    program = (
        "from clinnlp.core.document import Document as D; from clinnlp.text.splits import split;"
        "print([d.id for d in split([D(str(n), str(n)) for n in range(50)])['test']])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


def test_refusals() -> None:
    with pytest.raises(DataError, match=r"would be empty: 10 documents form 1 groups\. Next: give more documents"):
        split(notes(10, 1))
    with pytest.raises(DataError, match="would be empty: 0 documents"):
        split([])
    for shares in ({}, {"a": 0.5}, {"a": 1.5, "b": -0.5}):
        with pytest.raises(ConfigError, match="must be positive and add up to 1"):
            split(notes(10, 5), shares)


def test_duplicate_ids() -> None:
    assert duplicate_ids(Document(id, "") for id in ("b", "a", "b", "c", "c", "b")) == ["b", "c"]
