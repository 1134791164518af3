"""Documents on disk come back as they were, and nothing of them is left behind."""

from pathlib import Path

import pytest

from clinnlp.core.document import Document, Span
from clinnlp.core.spool import Part, Spool, Texts, nameless_file, write
from clinnlp.errors import StorageError

DOCUMENTS = [
    Document("a", "fever\r\n\U0001f912 \u0301x", (Span(0, 5, "PROBLEM", 0.5, {"negated": True}),), ("x", "y"), "p1"),
    Document("b", "", meta={"n": 1, "nested": {"k": [1, 2]}}),
    Document("c", "left and right arm", (Span(0, 18, "SITE", fragments=((0, 4), (15, 18))),), group=""),
]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path)
    for document in DOCUMENTS:
        made.append(document)
    return made


def test_documents_come_back_as_they_were(spool: Spool, tmp_path: Path) -> None:
    assert list(spool) == DOCUMENTS
    assert spool[-1] == DOCUMENTS[2] and spool[::2] == DOCUMENTS[::2]
    with pytest.raises(IndexError):
        _ = spool[3]
    spool.append(DOCUMENTS[0])
    assert len(spool) == 4 and spool[3] == DOCUMENTS[0], "it can be read between"
    assert not list(tmp_path.iterdir()), "the file has no name: nothing is left when the process is killed"


def test_parts_and_texts(spool: Spool) -> None:
    part = Part(spool, [2, 0])
    assert [document.id for document in part] == ["c", "a"] and part[1:] == [DOCUMENTS[0]]
    assert [document.id for document in part + Part(spool, [1])] == ["c", "a", "b"]
    texts = Texts(part)
    assert list(texts) == [texts[0], texts[1]] == texts[:2] == [DOCUMENTS[2].text, DOCUMENTS[0].text]
    with pytest.raises(ValueError, match="two sequences"):
        _ = part + Part(DOCUMENTS, [0])


def test_no_room_is_told(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with full.open("wb") as file, pytest.raises(StorageError, match="cannot write to the folder of the run: No space"):
        write(file, b"x" * 10**7)
    with pytest.raises(StorageError, match="cannot write: No such file"):
        nameless_file(tmp_path / "nothing")
