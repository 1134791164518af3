"""How far two sets of notes lie apart: each figure by a case counted by hand."""

import math

import numpy as np
import pytest

from clinnlp.core.document import Document, Span
from clinnlp.errors import DataError
from clinnlp.evaluation.shift import (
    Sides,
    calibrated,
    discrepancy,
    distance_of,
    domain_scores,
    feature_shift,
    gaussian_kernel,
    note_shift,
    proxy_distance,
    sides_of,
    squared_distances,
    word_features,
)  # fmt: skip
from clinnlp.evaluation.shift_labels import distance_of_shares, estimated_shares, label_shift
from clinnlp.evaluation.shift_words import lengths, perplexity_gap, vocabulary_gap

TEXTS = [f"patient {word} presents with fever" for word in "abcdefghijklmnopqrst"]
OTHERS = [f"wrist {word} fracture of the left arm" for word in "abcdefghijklmnopqrst"]


def notes(name: str, texts: list[str], labels: tuple[str, ...] = (), patients: bool = False) -> list[Document]:
    return [
        Document(f"{n}", text, labels=labels[n : n + 1], group=f"{name}{n // 2}" if patients else None)
        for n, text in enumerate(texts)
    ]


def sides(first: list[str] = TEXTS, second: list[str] = OTHERS) -> Sides:
    return sides_of(notes("s", first), notes("t", second))


def test_equal_notes_are_not_told_apart_and_disjoint_ones_always() -> None:
    same = note_shift(notes("s", TEXTS), notes("t", TEXTS))
    assert same["words"]["proxy_a_distance"]["value"] == pytest.approx(0, abs=1e-9)
    assert same["words"]["auc"] == pytest.approx(0.5)
    assert same["words"]["mmd"]["squared"] == pytest.approx(0, abs=1e-12) and same["words"]["mmd"]["p"] == 1
    apart = note_shift(notes("s", TEXTS), notes("t", OTHERS))
    assert apart["words"]["proxy_a_distance"]["value"] == 2
    assert apart["words"]["auc"] == 1
    assert apart["words"]["mmd"]["p"] < 0.01
    interval = apart["words"]["proxy_a_distance"]["interval"]
    assert (interval["low"], interval["high"], interval["units"]) == (2, 2, 40)


def test_proxy_distance_by_hand() -> None:
    """5 of 20 source notes and 1 of 10 target notes judged wrongly: 2 (1 - 2 (1/4 + 1/10) / 2) = 1.3."""
    assert distance_of(np.array([[5.0, 20.0, 1.0, 10.0]]))[0] == pytest.approx(1.3)
    held = sides(TEXTS, OTHERS[:10])
    scores = np.where(held.target, 0.9, 0.1)
    scores[:5] = 0.6
    scores[-1] = 0.4
    found = proxy_distance(scores, held, 1)
    assert found.value == pytest.approx(1.3)
    assert found.interval is not None and 0.6 < found.interval.low < 1.3 < found.interval.high < 1.9


def test_timid_scores_become_chances_that_hold() -> None:
    """Of 100 source and 100 target notes 80 and 20 score 0.45, the others 0.55: chances of 0.2 and 0.8."""
    target = np.repeat([False, True], 100)
    scores = np.where(np.arange(200) % 100 < np.where(target, 20, 80), 0.45, 0.55)
    found = calibrated(scores, target)
    assert found[scores < 0.5] == pytest.approx(0.2, abs=0.03)
    assert found[scores > 0.5] == pytest.approx(0.8, abs=0.03)
    sizes = np.concatenate([np.flatnonzero(~target), np.flatnonzero(target)[::4]])
    assert calibrated(scores[sizes], target[sizes])[0] == pytest.approx(0.2, abs=0.05), "sides weigh alike"


def test_scores_that_say_nothing_become_one_half() -> None:
    target = np.repeat([False, True], 50)
    assert calibrated(np.where(target, 0.4, 0.6), target).tolist() == [0.5] * 100, "worse than chance"
    assert calibrated(np.tile([0.3, 0.7], 50), target) == pytest.approx(0.5, abs=1e-6)
    certain = calibrated(target.astype(float), target)
    assert certain[0] < 0.1 and certain[-1] > 0.9


def test_no_note_is_judged_by_its_own_group() -> None:
    """The vectors are ids of patients: whoever saw a patient would know it, others cannot."""
    first, second = notes("s", TEXTS, patients=True), notes("t", TEXTS, patients=True)
    held = sides_of(first, second)
    assert held.units.name == "group" and held.units.count == 20
    vectors = np.eye(20)[held.groups] * 10
    scores = domain_scores(vectors, held, 1)
    assert abs(scores - 0.5).max() < 0.2


def test_mmd_of_two_points_by_hand() -> None:
    """One note a side at distance 5: m = 25, so 1 + 1 - 2 exp(-25/25)."""
    points = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert squared_distances(points).tolist() == [[0, 25], [25, 0]]
    kernel = gaussian_kernel(squared_distances(points))
    assert kernel[0, 1] == pytest.approx(math.exp(-1))
    held = sides(TEXTS[:10], OTHERS[:10])
    found = discrepancy(np.repeat(points, 10, axis=0), held, 1)
    assert found.squared == pytest.approx(2 - 2 * math.exp(-1))
    assert found.p == pytest.approx(1 / 1001, abs=2e-3)
    assert 0 < found.chance < found.squared


def test_mmd_finds_a_shift_as_often_as_chance_where_there_is_none() -> None:
    held = sides(TEXTS[:10], OTHERS[:10])
    p = [
        discrepancy(np.random.default_rng(seed).normal(size=(20, 3)), held, seed, permutations=99).p
        for seed in range(200)
    ]
    assert 0.01 < np.mean(np.array(p) <= 0.05) < 0.11


def test_vocabulary_by_hand() -> None:
    """Each target note has `fever` (known) and `wrist` twice (unknown): 20 of 30 words, 1 of 2 types."""
    held = sides(["fever", "fever cough"] * 5, ["fever wrist wrist"] * 10 + ["fever wrist wrist."] * 2)
    found = vocabulary_gap(held, 1)
    assert found["unseen"]["value"] == pytest.approx(2 / 3)
    assert (found["unseen_types"], found["types"], found["source_types"]) == (1, 2, 2)
    assert found["usual"]["value"] == pytest.approx(5 / 15), "cough stands in one text alone"


def test_lengths_by_hand() -> None:
    found = lengths(sides(["a b c d"] * 10 + ["a b"] * 10, ["a"] * 10 + ["a b c d e"] * 10), 1)
    assert [found[name]["value"] for name in ("source", "target", "ratio")] == [3, 3, 1]


def test_perplexity_by_hand() -> None:
    held = sides(TEXTS[:10], OTHERS[:10])
    losses = np.array([math.log(2.0)] * 9 + [math.nan] + [math.log(8.0)] * 10)
    masked = np.array([3] * 9 + [0] + [5] * 10)
    found = perplexity_gap(losses, masked, held, 1)
    assert [found[name]["value"] for name in ("source", "target", "ratio")] == pytest.approx([2, 8, 4])
    assert found["ratio"]["interval"]["low"] == pytest.approx(4) and found["masked_tokens"] == 77


def test_label_shift_by_hand() -> None:
    """Source 15 a and 5 b, target 5 a and 15 b: half of |3/4 - 1/4| twice is 1/2."""
    labeled = sides_of(notes("s", TEXTS, ("a",) * 15 + ("b",) * 5), notes("t", OTHERS, ("a",) * 5 + ("b",) * 15))
    found = label_shift(labeled, "labels", 1)
    assert found is not None and found["distance"]["value"] == pytest.approx(0.5)
    assert found["shares"]["a"]["source"]["value"] == 0.75 and found["shares"]["b"]["target"]["value"] == 0.75
    assert distance_of_shares(np.array([[3.0, 0, 0, 7]]))[0] == 1
    assert label_shift(labeled, "spans", 1) is None, "there are none"
    spans = [Document(d.id, d.text, (Span(0, 2, "X"),)) for d in labeled.documents]
    of_spans = label_shift(Sides(spans, labeled.target, labeled.groups, labeled.units), "spans", 1)
    assert of_spans is not None and of_spans["distance"]["value"] == 0


def test_the_distance_of_labels_is_held_against_chance() -> None:
    """Of equal sides it is 0 and of none in common 1; chance of 20 and 20 notes of two labels makes about 0.3."""
    half = ("a",) * 10 + ("b",) * 10
    same = label_shift(sides_of(notes("s", TEXTS, half), notes("t", OTHERS, half)), "labels", 1)
    assert same is not None and same["distance"].keys() == {"value", "chance", "p", "permutations"}
    assert (same["distance"]["value"], same["distance"]["p"]) == (0, 1) and 0.2 <= same["distance"]["chance"] <= 0.35
    assert same["shares"]["a"]["source"]["interval"]["low"] < 0.5, "shares keep their intervals"
    apart = label_shift(sides_of(notes("s", TEXTS, ("a",) * 20), notes("t", OTHERS, ("b",) * 20)), "labels", 1)
    assert apart is not None and apart["distance"]["value"] == 1 > apart["distance"]["chance"]
    assert apart["distance"]["p"] < 0.01


def test_chance_moves_whole_patients() -> None:
    """Ten patients of two notes each, alike within a patient: chance makes more than of twenty single notes."""
    labels = tuple(label for label in "abababbaba" for _ in range(2))
    found = [
        label_shift(sides_of(*(notes(name, TEXTS, labels, patients) for name in "st")), "labels", 1)
        for patients in (False, True)
    ]
    chance = [held["distance"]["chance"] for held in found if held is not None]
    assert chance[0] < chance[1]


def test_labels_are_found_apart_as_often_as_chance_where_there_is_no_difference() -> None:
    random = np.random.default_rng(1)
    p = []
    for seed in range(60):
        sampled = [tuple(random.choice(list("abc"), 20).tolist()) for _ in range(2)]
        held = label_shift(sides_of(notes("s", TEXTS, sampled[0]), notes("t", OTHERS, sampled[1])), "labels", seed)
        assert held is not None
        p.append(held["distance"]["p"])
    assert np.mean(np.array(p) <= 0.05) < 0.15 and 0.3 < np.mean(p) < 0.8


def test_shares_of_the_target_are_estimated_by_hand() -> None:
    """10 a and 10 b in the source, 8 of each named rightly; 17 of 25 target notes named a.

    0.4 w_a + 0.1 w_b = 0.68 and 0.1 w_a + 0.4 w_b = 0.32 give w = (1.6, 0.4): shares 0.8 and 0.2.
    """
    gold = notes("s", TEXTS, ("a",) * 10 + ("b",) * 10)
    target = notes("t", [f"{text} {n}" for n, text in enumerate([*OTHERS, *OTHERS[:5]])])
    said = ["a"] * 8 + ["b"] * 2 + ["a"] * 2 + ["b"] * 8 + ["a"] * 17 + ["b"] * 8
    held = sides_of(gold, target)
    predicted = [Document(d.id, d.text, labels=(label,)) for d, label in zip(held.documents, said, strict=True)]
    found = estimated_shares(held, predicted, ("a", "b"), 1)
    assert found is not None
    assert found["shares"]["a"]["value"] == pytest.approx(0.8) and found["shares"]["b"]["value"] == pytest.approx(0.2)
    assert found["condition"] == pytest.approx(0.5 / 0.3)
    interval = found["shares"]["a"]["interval"]
    assert interval["low"] < 0.8 < interval["high"] <= 1
    nothing = [Document(d.id, d.text) for d in held.documents]
    assert estimated_shares(held, nothing, ("a", "b"), 1) is None, "not every note has a class"


def test_the_order_of_notes_and_the_ids_of_both_sides_do_not_matter() -> None:
    held = sides()
    assert held.units.count == 40, "ids 0 to 19 of both sides are different notes"
    one = feature_shift(word_features(held.documents), held, 3)
    assert one == feature_shift(word_features(held.documents), held, 3)


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (TEXTS[:9], OTHERS, "source: 9 notes of 9 groups (patients), and 10 notes of two groups are needed."),
        (TEXTS, ["one"] * 12, "target: 12 notes of 1 groups (patients), and 10 notes of two groups are needed."),
    ],
)
def test_too_few_notes_are_refused(first: list[str], second: list[str], told: str) -> None:
    with pytest.raises(DataError) as error:
        sides(first, second)
    assert str(error.value) == f"{told} Next: give more notes."


def test_notes_without_words_are_refused() -> None:
    with pytest.raises(DataError) as error:
        word_features(notes("s", ["...", "!"]))
    assert str(error.value) == "the notes hold no words. Next: check the path and the format."
