"""The sample in every format holds the same notes, as far as each format can hold them."""

from pathlib import Path

import pytest

from clinnlp import plugins
from clinnlp.formats.base import read

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
OTHERS = {"brat": "brat", "docbin": "notes.spacy", "omop": "notes.sqlite"}
PATHS = {name: SAMPLES / OTHERS.get(name, f"notes.{name}") for name in plugins.names("formats")}


def test_every_format_has_a_sample() -> None:
    assert PATHS and all(path.exists() for path in PATHS.values())


@pytest.mark.parametrize("name", sorted(PATHS))
def test_spans_are_the_same_words_in_every_format(name: str) -> None:
    expected = list(read(PATHS["jsonl"], "jsonl"))
    found = list(read(PATHS[name], name))
    ids = [document.id for document in expected]
    assert [document.id for document in found] == (ids if name != "omop" else ["1", "2", "3", "4", "5", "6"])
    for one, other in zip(expected, found, strict=True):
        assert words(one) == words(other)


@pytest.mark.parametrize("name", ["csv", "parquet", "brat", "docbin"])
def test_text_and_offsets_are_exact_where_the_format_can(name: str) -> None:
    for one, other in zip(read(PATHS["jsonl"], "jsonl"), read(PATHS[name], name), strict=True):
        assert (one.text, one.labels, one.group) == (other.text, other.labels, other.group)
        assert [span.key for span in one.spans] == [span.key for span in other.spans]


def words(document) -> list[tuple[str, str]]:
    """Label and surface of each span, white space and token borders left out."""
    return [(span.label, "".join(document.text[span.start : span.end].split())) for span in document.spans]
