import pytest

from clinnlp.core.document import Document
from clinnlp.core.report import DataCounts
from clinnlp.errors import DataError
from clinnlp.evaluation.pairing import count_data, pair


def documents(*names: str, text: str = "some text") -> list[Document]:
    return [Document(name, text) for name in names]


def test_pairs_follow_ids_not_order() -> None:
    pairs = pair(documents("a", "b", "c"), iter(documents("c", "a", "b")))
    assert [(gold.id, predicted.id) for gold, predicted in pairs] == [("a", "a"), ("b", "b"), ("c", "c")]


def test_documents_of_one_side_only_are_counted_and_not_named() -> None:
    with pytest.raises(DataError) as caught:
        pair(documents("secret", "b", "c"), documents("b", "hidden"))
    assert str(caught.value) == (
        "gold and predictions hold different documents: 2 of 3 gold without a prediction, "
        "1 of 2 predicted without gold. Next: predict on exactly the notes of the gold data."
    )


def test_repeated_ids_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        pair(documents("a", "a", "b"), documents("a", "b"))
    assert str(caught.value) == (
        "document ids repeat: 1 of 3 gold documents, 0 of 2 predicted ones. Next: give each note an id of its own."
    )


def test_changed_texts_are_refused_without_showing_them() -> None:
    with pytest.raises(DataError) as caught:
        pair(documents("a", "b"), [*documents("a"), *documents("b", text="some\r\ntext")])
    assert str(caught.value) == (
        "texts differ between gold and predictions in 1 of 2 documents. "
        "Next: predict on the very texts of the gold data, line ends included."
    )


def test_data_counts() -> None:
    assert count_data([]) == DataCounts(0, None, 0, 0)
    notes = [Document("a", "four", group="p"), Document("b", " \n", group="p"), Document("c", "", group="q")]
    assert count_data(notes) == DataCounts(3, groups=2, characters=6, empty=2, shortest=0, median=2, longest=4)
