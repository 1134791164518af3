"""Notes in another language stand out by their words."""

import pytest

from clinnlp.core.document import Document
from clinnlp.text.wording import foreign_notes, known_shares

ENGLISH = "the patient was seen for pain in the chest and was given aspirin at the visit number {}"
GERMAN = "die Patientin klagte seit gestern ueber Schmerzen und bekam bei der Aufnahme sofort Paracetamol {}"


def documents(frame: str, count: int) -> list[Document]:
    return [Document(f"{frame[:3]}{n}", frame.format("abcdefghij"[n % 10] * 3)) for n in range(count)]


def test_shares_by_hand() -> None:
    train = [Document("1", "No pain, no fever; 5 mg aspirin")]
    some = [Document("2", "pain pain fever and PAIN in the left knee 12"), Document("3", "pain"), Document("4", "")]
    # 9 words are too few: pain pain fever and pain in the left knee
    assert known_shares(train, some) == [None, None, None]
    ten = [Document("2", some[0].text.replace("12", "again"))]
    assert known_shares(train, ten) == [pytest.approx(4 / 10)]


def test_another_language_is_foreign_and_the_own_is_not() -> None:
    train = documents(ENGLISH, 20)
    assert foreign_notes(train, [*documents(ENGLISH, 7), *documents(GERMAN, 5)]) == 5
    assert foreign_notes(train, documents(ENGLISH, 7)) == 0


def test_training_notes_that_share_nothing_make_nothing_foreign() -> None:
    train = [Document(str(n), " ".join(f"{chr(97 + n)}{chr(97 + k)}x" for k in range(12))) for n in range(5)]
    assert foreign_notes(train, documents(GERMAN, 3)) == 0
    assert foreign_notes([], documents(GERMAN, 3)) == 0 == foreign_notes(train, [])
