"""The scorers that count characters, tokens and chunks: by hand, by sets, against seqeval, conlleval and sklearn."""

import random
import warnings
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinnlp.core.document import Document, Span
from clinnlp.core.report import LabelScores, Score
from clinnlp.encode import characters
from clinnlp.errors import DataError, IntegrityError
from clinnlp.evaluation import scorers_sequence
from clinnlp.evaluation.entity import evaluate_spans
from clinnlp.evaluation.pairing import pair
from clinnlp.evaluation.scorers import lenient, score_spans
from clinnlp.evaluation.scorers_sequence import chunks, unit_starts
from tests.evaluation.flat import TokenSpan, disturb, documents, flat_corpus, read_iob2, tags
from tests.evaluation.oracles import conlleval, seqeval_differences

CORPORA = [
    "mtl_bio/NCBI-disease-IOB/test.tsv",
    "mtl_bio/BC5CDR-IOB/test.tsv",
    "epi4gard/EpiCustomV3/test.tsv",
    "general_wnut17/emerging.test.annotated",
]


def score(text: str, gold: list[Span], predicted: list[Span]) -> dict[str, dict[str, Score]]:
    found = score_spans([(Document("1", text, tuple(gold)), Document("1", text, tuple(predicted)))])
    return {name: dict(found[name].per_label) for name in ("token", "character", "lenient")}  # type: ignore[arg-type]


def test_counted_by_hand() -> None:
    text = "no chest pain, 5mg aspirin"
    #       01234567890123456789012345
    gold = [Span(3, 13, "P"), Span(15, 26, "D")]
    predicted = [Span(9, 14, "P"), Span(15, 26, "D")]
    found = score(text, gold, predicted)
    # P: gold 3..12, predicted 9..13, both 9..12; D: 11 characters
    assert found["character"] == {"P": Score(4, 1, 6), "D": Score(11, 0, 0)}
    # P: gold chest and pain, predicted pain and the comma; D: 5, mg, aspirin
    assert found["token"] == {"P": Score(1, 1, 1), "D": Score(3, 0, 0)}
    assert found["lenient"] == {"P": Score(0, 1, 1), "D": Score(1, 0, 0)}


def test_a_part_of_a_word_is_the_word_to_the_token_scorer_and_blanks_are_none() -> None:
    found = score("acute pain", [Span(0, 5, "A")], [Span(2, 6, "A")])
    assert found["token"]["A"] == found["lenient"]["A"] == Score(1, 0, 0)
    assert found["character"]["A"] == Score(3, 1, 2)
    found = score("acute pain", [Span(5, 6, "A")], [])
    assert found["token"]["A"] == found["lenient"]["A"] == Score()
    assert found["character"]["A"] == Score(0, 0, 1)


def test_lenient_merges_neighbours_of_one_label() -> None:
    text = "chest pain cough"
    one, two = [Span(0, 10, "A")], [Span(0, 5, "A"), Span(6, 10, "A")]
    assert score(text, one, two)["lenient"] == {"A": Score(1, 0, 0)}
    assert score(text, two, one)["lenient"] == {"A": Score(1, 0, 0)}
    labels = [Span(0, 5, "A"), Span(6, 10, "B")]
    assert score(text, labels, labels)["lenient"] == {"A": Score(1, 0, 0), "B": Score(1, 0, 0)}
    apart = [Span(0, 5, "A"), Span(11, 16, "A")]
    assert score(text, apart, apart)["lenient"] == {"A": Score(2, 0, 0)}


def test_neighbours_of_two_documents_do_not_merge() -> None:
    gold = [Document("1", "ab", (Span(0, 2, "A"),)), Document("2", "cd", (Span(0, 2, "A"),))]
    found = score_spans(pair(gold, gold))
    assert found["lenient"].micro == Score(2, 0, 0)
    assert found["token"].micro == Score(2, 0, 0)


def test_fragments_cover_what_they_hold_and_copies_cover_nothing_more() -> None:
    pieces = Span(0, 10, "A", fragments=((0, 2), (8, 10)))
    found = score("ab cd ef gh", [pieces, pieces], [Span(0, 10, "A")])
    assert found["character"] == {"A": Score(4, 6, 0)}
    assert found["token"] == {"A": Score(2, 2, 0)}  # 8:10 holds f and a blank
    assert found["lenient"] == {"A": Score(0, 1, 2)}


TEXT = "Ca\u0301fe 12mg, \u00fcber-all\u00ad\u00b5g  (\u809d) x\u200by \n3.5"


@st.composite
def spans(draw: st.DrawFn) -> list[Span]:
    found = []
    for _ in range(draw(st.integers(0, 5))):
        start = draw(st.integers(0, len(TEXT) - 1))
        end = draw(st.integers(start + 1, len(TEXT)))
        pieces: tuple[tuple[int, int], ...] = ()
        if end - start > 4 and draw(st.booleans()):
            pieces = ((start, start + 2), (end - 2, end))
        found.append(Span(start, end, draw(st.sampled_from("AB")), fragments=pieces))
    return found


def runs(units: set[int]) -> set[tuple[int, int]]:
    starts = sorted(u for u in units if u - 1 not in units)
    return {(s, next(e for e in range(s, 10**6) if e not in units)) for s in starts}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(spans(), spans()), min_size=1, max_size=3), st.integers(1, 100))
def test_sets_of_characters_and_units(corpus: list[tuple[list[Span], list[Span]]], batch: int) -> None:
    begins = characters.unit_starts(TEXT)
    unit_of, unit = {}, -1
    for place, character in enumerate(TEXT):
        unit += bool(begins[place])
        if not character.isspace():
            unit_of[place] = unit
    expected: dict[str, Counter[tuple[str, int]]] = {name: Counter() for name in ("token", "character", "lenient")}
    for sides in corpus:
        for label in "AB":
            covered = [
                {
                    c
                    for s in side
                    if s.label == label
                    for a, b in s.fragments or ((s.start, s.end),)
                    for c in range(a, b)
                }
                for side in sides
            ]
            units = [{unit_of[c] for c in side if c in unit_of} for side in covered]
            for name, (ours, theirs) in [
                ("character", covered),
                ("token", units),
                ("lenient", [runs(u) for u in units]),
            ]:
                for column, part in enumerate((ours & theirs, theirs - ours, ours - theirs)):  # type: ignore[operator]
                    expected[name][label, column] += len(part)
    golds = [Document(str(n), TEXT, tuple(gold)) for n, (gold, _) in enumerate(corpus)]
    predictions = [Document(str(n), TEXT, tuple(predicted)) for n, (_, predicted) in enumerate(corpus)]
    whole, scorers_sequence.BATCH_CHARS = scorers_sequence.BATCH_CHARS, batch
    try:
        found = score_spans(pair(golds, predictions), labels="AB")
    finally:
        scorers_sequence.BATCH_CHARS = whole
    for name, cells in expected.items():
        for label in "AB":
            assert found[name].per_label[label] == Score(*(cells[label, column] for column in range(3))), name


@settings(max_examples=150, deadline=None)
@given(
    st.text(
        st.sampled_from(
            "aB\u00e9\u00df\u03b19\u0663\u00b2 \n\t\u00a0.,-/%_\u0301\u0308\u00ad\u200b\u809d\u0e01\u2019\U0001f600"
        )
    )
)
def test_units_are_those_that_carry_tags(text: str) -> None:
    begins, visible = unit_starts(text)
    assert begins.tolist() == characters.unit_starts(text).tolist()
    assert visible.tolist() == [not character.isspace() for character in text]


def test_units_of_ascii() -> None:
    text = "".join(map(chr, range(128))) * 2
    assert unit_starts(text)[0].tolist() == characters.unit_starts(text).tolist()
    assert unit_starts("")[0].tolist() == []


@pytest.mark.parametrize("seed", range(20))
def test_tokens_agree_with_sklearn_on_flat_tags(seed: int) -> None:
    from sklearn.metrics import precision_recall_fscore_support

    lengths, gold, predicted = flat_corpus(seed)
    marks = [
        [tag[2:] or "O" for spans, length in zip(side, lengths, strict=True) for tag in tags(spans, length)]
        for side in (gold, predicted)
    ]
    labels = sorted({*marks[0], *marks[1]} - {"O"})
    theirs = precision_recall_fscore_support(*marks, labels=labels, zero_division=0)
    found = score_spans(pair(documents(lengths, gold), documents(lengths, predicted)))["token"]
    assert sorted(found.per_label) == labels
    for number, label in enumerate(labels):
        ours = found.per_label[label]
        assert isinstance(ours, Score)
        assert [column[number] for column in theirs] == pytest.approx(ratios(ours), abs=1e-12)


# --- parity with seqeval and conlleval


def ratios(ours: Score) -> list[float]:
    values = (ours.precision, ours.recall, ours.f1)
    return [0.0 if value != value else value for value in values] + [ours.support]


def assert_seqevals(ours: LabelScores, gold: list[list[str]], predicted: list[list[str]], strict: bool) -> None:
    assert max(seqeval_differences(ours, gold, predicted, strict), default=0) <= 1e-12


def random_tags(rng: random.Random, length: int, prefixes: str, labels: list[str]) -> list[str]:
    found: list[str] = []
    while len(found) < length:
        tag = "O" if rng.random() < 0.35 else f"{rng.choice(prefixes)}-{rng.choice(labels)}"
        found += [tag] * rng.choice([1, 1, 2])
    return found[:length]


def test_lenient_is_seqevals_default_and_conllevals_on_200_sets_of_any_tags() -> None:
    illegal = 0
    for seed in range(200):
        rng = random.Random(seed)
        prefixes = rng.choice(["BI", "BI", "I", "BIES"])
        labels = ["A", "B", "C-D"][: rng.randint(1, 3)]
        lengths = [rng.randint(1, 20) for _ in range(rng.randint(1, 6))]
        gold = [random_tags(rng, length, prefixes, labels) for length in lengths]
        predicted = [
            [rng.choice([tag, tag, f"I-{rng.choice(labels)}"]) for tag in sentence]
            if rng.random() < 0.7
            else random_tags(rng, len(sentence), prefixes, labels)
            for sentence in gold
        ]
        ours = lenient(gold, predicted)
        assert_seqevals(ours, gold, predicted, strict=False)
        if prefixes != "BIES":  # counted above for B and I only
            assert dict(ours.per_label) == conlleval(gold, predicted)
        illegal += any(tag[0] == "I" and before == "O" for s in predicted for before, tag in zip(["O", *s], s))  # noqa: B905
    assert illegal > 100


def test_strict_is_seqevals_strict_iob2_on_200_sets() -> None:
    for seed in range(200):
        lengths, gold, predicted = flat_corpus(seed)
        ours = evaluate_spans(documents(lengths, gold), documents(lengths, predicted), resamples=2).strict
        assert_seqevals(ours, *marks_of(lengths, gold, predicted, "IOB2"), strict=True)


def test_lenient_of_documents_is_seqevals_default_of_their_io_tags_on_200_sets() -> None:
    for seed in range(200):
        lengths, gold, predicted = flat_corpus(seed)
        found = score_spans(pair(documents(lengths, gold), documents(lengths, predicted)))["lenient"]
        marks = [
            [[tag.replace("B-", "I-") for tag in s] for s in side]
            for side in marks_of(lengths, gold, predicted, "IOB2")
        ]
        assert_seqevals(found.counts, *marks, strict=False)  # type: ignore[union-attr]
        assert dict(found.per_label) == conlleval(*marks)


@pytest.mark.parametrize("path", CORPORA)
def test_parity_on_a_real_corpus(shared: Path, path: str) -> None:
    if not (shared / "data" / path).is_file():
        pytest.skip(f"shared/data/{path} is not beside this checkout")
    lengths, gold = read_iob2(shared / "data" / path)
    lengths, gold = lengths[:1000], gold[:1000]
    rng = random.Random(2)
    labels = sorted({label for spans in gold for _, _, label in spans})
    predicted = [disturb(rng, spans, [*labels, "Other"]) for spans in gold]
    report = evaluate_spans(documents(lengths, gold), documents(lengths, predicted), resamples=2)
    marks = marks_of(lengths, gold, predicted, "IOB2")
    assert_seqevals(report.strict, *marks, strict=True)
    assert_seqevals(lenient(*marks), *marks, strict=False)
    assert dict(lenient(*marks).per_label) == dict(report.strict.per_label), "legal tags are read alike by both"
    inside = [[[tag.replace("B-", "I-") for tag in s] for s in side] for side in marks]
    found = report.scorers["lenient"]
    assert_seqevals(found.counts, *inside, strict=False)  # type: ignore[union-attr]


def marks_of(
    lengths: list[int], gold: list[list[TokenSpan]], predicted: list[list[TokenSpan]], scheme: str
) -> list[list[list[str]]]:
    return [[tags(s, n, scheme) for s, n in zip(side, lengths, strict=True)] for side in (gold, predicted)]


def test_difference_lenient_reads_what_strict_leaves_out() -> None:
    # I without B: an entity to conlleval and seqeval's default mode, nothing to seqeval's strict mode
    gold, predicted = [["B-A", "I-A", "O"]], [["I-A", "I-A", "O"]]
    assert lenient(gold, predicted).micro == Score(1, 0, 0)
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    assert f1_score(gold, predicted) == 1.0
    assert f1_score(gold, predicted, mode="strict", scheme=IOB2, zero_division=0) == 0.0


def test_difference_documents_have_no_b_between_neighbours() -> None:
    # two entities side by side are two to tags with B, one to the IO tags of documents
    gold = [[(0, 1, "A"), (1, 2, "A")]]
    assert lenient([["B-A", "B-A"]], [["B-A", "B-A"]]).micro == Score(2, 0, 0)
    assert score_spans(pair(documents([2], gold), documents([2], gold)))["lenient"].micro == Score(1, 0, 0)


def test_difference_seqeval_takes_tags_without_prefix_for_entities() -> None:
    from seqeval.metrics.sequence_labeling import get_entities

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert get_entities(["LABEL_1", "PROBLEM"]) == [("ABEL_1", 0, 0), ("ROBLEM", 1, 1)]
    with pytest.raises(DataError):
        lenient([["O", "O"]], [["LABEL_1", "PROBLEM"]])


def test_chunks_by_hand() -> None:
    tags = ["I-A", "I-A", "B-A", "O", "I-A", "I-B", "S-B", "E-B", "B-C-D", "E-C-D", "I-C-D"]
    assert chunks(tags) == [
        (0, 2, "A"), (2, 3, "A"), (4, 5, "A"), (5, 6, "B"), (6, 7, "B"), (7, 8, "B"), (8, 10, "C-D"), (10, 11, "C-D"),
    ]  # fmt: skip
    assert chunks([]) == []


@pytest.mark.parametrize("tag", ["LABEL_1", "PROBLEM", "B", "B-", "X-A", "o", ""])
def test_tags_that_are_none_are_refused_without_their_text(tag: str) -> None:
    with pytest.raises(DataError) as caught:
        lenient([["O"]], [[tag]])
    assert str(caught.value) == (
        "a tag is neither O nor B, I, E or S with a hyphen and a label. Next: write tags such as B-PROBLEM."
    )


def test_sequences_of_unequal_length_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        lenient([["O"], ["O", "O"]], [["O"], ["O"]])
    assert str(caught.value) == (
        "gold has 2 tag sequences, predictions 2; 1 of them differ in length. "
        "Next: give one tag for each token on both sides."
    )
    with pytest.raises(DataError, match="gold has 1 tag sequences, predictions 0; 0 of them"):
        lenient([["O"]], [])


def test_empty_against_empty_has_no_score() -> None:
    from seqeval.metrics import f1_score

    assert str(lenient([["O"]], [["O"]]).micro.f1) == "nan"
    assert f1_score([["O"]], [["O"]], zero_division=0) == 0


def test_two_counts_that_must_agree_and_do_not_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """L06: where spans are whole words apart from each other, strict matches and chunks of words are the same."""
    text = "chest pain and fever"
    spans = [Span(0, 10, "P"), Span(15, 20, "P")]
    assert score(text, spans, spans)["lenient"]["P"] == Score(2, 0, 0)
    real = scorers_sequence._Cover.chunks

    def wrong(self: object) -> LabelScores:
        found = real(self)  # type: ignore[arg-type]
        return LabelScores({label: Score(s.tp - 1, s.fp + 1, s.fn + 1) for label, s in found.per_label.items()})

    monkeypatch.setattr(scorers_sequence._Cover, "chunks", wrong)
    with pytest.raises(IntegrityError, match="2 spans of a label match by characters and 1 by tokens"):
        score(text, spans, spans)
    score(text, [Span(0, 10, "P"), Span(6, 20, "P")], spans)  # they overlap: the two may differ
    score(text, [Span(0, 4, "P")], [Span(0, 5, "P")])  # the same word, other bounds
