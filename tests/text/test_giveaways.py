"""Words that decide a label: named by kind, never by themselves."""

import random

import pytest

from clinnlp.core.document import Document
from clinnlp.text.giveaways import Giveaway, find_giveaways

FILLER = ("seen", "today", "stable", "chest", "clear", "plan", "follow", "up", "daily", "home")


def notes(token: str, positives: int = 30, negatives: int = 70, slips: int = 0) -> list[Document]:
    """Notes with the label hold the token; so do `slips` of the others."""
    draw = random.Random(0)
    made = []
    for number in range(positives + negatives):
        has = number < positives
        words = draw.sample(FILLER, 6)
        if has or number < positives + slips:
            words.insert(3, token)
        made.append(Document(str(number), " ".join(words), labels=("type 2 diabetes",) if has else ()))
    return made


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        ("E11.9", "a code"),
        ("250.00", "a code"),
        ("4711", "a number"),
        ("Diabetes,", "a word of the label's name"),
        ("Impression: ", "a heading"),
        ("metformin", "a word"),
    ],
)
def test_kinds(token: str, kind: str) -> None:
    assert find_giveaways(notes(token)) == [Giveaway("type 2 diabetes", kind, 1, 1.0)]


def test_the_auroc_by_hand() -> None:
    # presence in 30 of 30 with and 2 of 70 without: (1 + 1 - 2/70) / 2 = 0.9857
    (found,) = find_giveaways(notes("metformin", slips=2))
    assert found.auroc == pytest.approx((2 - 2 / 70) / 2)
    assert find_giveaways(notes("metformin", slips=3)) == [], "0.9786 is not above 0.98"


def test_the_auroc_is_that_of_sklearn() -> None:
    from sklearn.metrics import roc_auc_score

    documents = notes("metformin", slips=1)
    given = [bool(document.labels) for document in documents]
    (found,) = find_giveaways(documents)
    assert found.auroc == pytest.approx(roc_auc_score(given, ["metformin" in d.text for d in documents]), abs=1e-12)


def test_too_little_support() -> None:
    assert find_giveaways(notes("metformin", positives=19)) == []
    assert find_giveaways(notes("metformin", negatives=19)) == []
    assert find_giveaways([]) == []
    assert find_giveaways([Document(str(n), "?", labels=("x",) if n < 30 else ()) for n in range(60)]) == []
