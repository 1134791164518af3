"""Label noise: planted errors come out on top, clean labels do not, and groups are never judged by themselves."""

import random
from dataclasses import replace

import pytest

from clinnlp.core.document import Document, Span
from clinnlp.text.candidates import candidates, features
from clinnlp.text.noise import Disagreement, note_noise, span_noise

DRUGS = ("aspirin", "metformin", "lisinopril", "insulin", "warfarin", "heparin")
PROBLEMS = ("fever", "cough", "chest pain", "nausea", "headache", "back pain")
FRAMES = (("started on ", " for "), ("takes ", " because of "), ("gave ", " and no more "))


def notes(count: int) -> list[Document]:
    draw = random.Random(0)
    made = []
    for number in range(count):
        drug, problem, (before, between) = draw.choice(DRUGS), draw.choice(PROBLEMS), draw.choice(FRAMES)
        text = f"Note {number}: {before}{drug}{between}{problem}."
        start = text.index(before) + len(before)
        second = start + len(drug) + len(between)
        spans = (Span(start, start + len(drug), "DRUG"), Span(second, second + len(problem), "PROBLEM"))
        made.append(Document(str(number), text, spans, ("pain" if "pain" in problem else "other",), f"p{number // 2}"))
    return made


def test_candidates_by_hand() -> None:
    first = Document("1", "Fever, chest pain", (Span(0, 5, "X"), Span(7, 17, "X")))
    second = Document("2", "FEVER fever (chest  pain) pain", (Span(0, 5, "X"), Span(26, 30, "Y"), Span(26, 30, "X")))
    third = Document("3", "chest pain", (Span(0, 10, "X"), Span(0, 10, "Z", fragments=((0, 5), (6, 10)))))
    found, left_out = candidates([first, second, third])
    # twofold labels and the pieces are left out, and with them the span at the same bounds
    assert left_out == 2 + 2
    assert [(one.document, one.start, one.end) for one in found if one.label] == [(0, 0, 5), (0, 7, 17), (1, 0, 5)]
    # "fever" is a span twice, "chest pain" once: only the former is looked for elsewhere
    assert [(one.document, one.start, one.end) for one in found if not one.label] == [(1, 6, 11)]


def test_a_word_that_is_seldom_a_span_is_not_looked_at_everywhere() -> None:
    spans = [Document(str(n), "iron", (Span(0, 4, "X"),)) for n in range(2)]
    found, _ = candidates([*spans, *(Document(f"o{n}", "iron iron") for n in range(8))])
    # 16 places outside, two spans: every second of them
    assert [(one.document, one.start) for one in found if not one.label] == [(n, 0) for n in range(2, 10)]


def test_features_see_two_words_on_either_side() -> None:
    document = Document("1", "He takes Aspirin 81 mg daily", (Span(9, 16, "DRUG"),))
    (one,) = candidates([document])[0]
    seen = features(document.text, one)
    assert {"surface aspirin", "shape a", "begin asp", "end rin", "before takes", "after 81"} <= set(seen)
    assert {"before2 he takes", "after2 81 mg", "around takes 81"} <= set(seen)


def test_planted_span_errors_are_found() -> None:
    documents = notes(400)
    clean = span_noise(documents)
    assert (clean.judged, clean.agree, clean.suspects) == (800, 800, ())
    draw = random.Random(1)
    wrong: dict[tuple[int, int], tuple[str | None, str]] = {}
    for number in draw.sample(range(400), 40):
        drug, problem = documents[number].spans
        if number % 2:
            spans: tuple[Span, ...] = (replace(drug, label="PROBLEM"), problem)
            wrong[number, drug.start] = "PROBLEM", "DRUG"
        else:
            spans = (drug,)
            wrong[number, problem.start] = None, "PROBLEM"
        documents[number] = replace(documents[number], spans=spans)
    found = span_noise(documents)
    told = {(one.document, one.start): (one.given, one.predicted) for one in found.suspects}
    assert found.judged == 800 and found.left_out == 0
    assert len(told.items() & wrong.items()) >= 0.8 * len(wrong), "recall"
    assert len(told.items() & wrong.items()) >= 0.9 * len(told), "precision"
    kinds = found.as_dict()["kinds"]
    assert {(kind["given"], kind["predicted"]) for kind in kinds[:2]} == {("PROBLEM", "DRUG"), (None, "PROBLEM")}
    assert sum(kind["count"] for kind in kinds) == len(found.suspects)


@pytest.mark.parametrize("several", [False, True], ids=["one label a note", "several"])
def test_planted_note_errors_are_found(several: bool) -> None:
    documents = notes(400)
    if several:  # the label "other" alone says nothing: notes without "pain" have no label
        documents = [replace(d, labels=("pain",) if d.labels == ("pain",) else ()) for d in documents]
        documents[0] = replace(documents[0], labels=("pain", "rare"))
    wrong = set(random.Random(2).sample(range(1, 400), 20))
    for number in wrong:
        has = documents[number].labels == ("pain",)
        labels = (() if several else ("other",)) if has else ("pain",)
        documents[number] = replace(documents[number], labels=labels)
    found = note_noise(documents)
    assert (found.judged, found.left_out) == (400, 1 if several else 0), "a label with one example is not judged"
    told = {one.document for one in found.suspects}
    assert len(told & wrong) >= 18 and len(told - wrong) <= 2
    assert all((one.start, one.end) == (None, None) for one in found.suspects)
    assert {one.given for one in found.suspects} == ({"pain", None} if several else {"pain", "other"})


def test_a_group_does_not_vouch_for_itself() -> None:
    documents = notes(200)
    odd = [
        Document(f"x{n}", f"Note x{n}: takes aspirin for fever.", (Span(15, 22, "PROBLEM"),), group="odd")
        for n in range(30)
    ]
    told = {one.document for one in span_noise(documents + odd).suspects}
    assert told >= set(range(200, 230)), "thirty equal errors of one patient"


def test_the_same_seed_gives_the_same_suspects() -> None:
    documents = notes(100)
    documents[3] = replace(documents[3], spans=(replace(documents[3].spans[0], label="PROBLEM"),))
    assert span_noise(documents, 1) == span_noise(documents, 1)


@pytest.mark.parametrize(
    ("documents", "why"),
    [
        ([], "fewer than two labels with 10 examples each"),
        (notes(5), "fewer than two labels with 10 examples each"),
        ([replace(d, group="p") for d in notes(40)], "all notes are of one group"),
    ],
    ids=["nothing", "too few", "one group"],
)
def test_too_little_to_judge(documents: list[Document], why: str) -> None:
    for found in (span_noise(documents), note_noise(documents)):
        assert (found.judged, found.suspects, found.why) == (0, (), why)


def test_as_dict_says_why_nothing_was_judged() -> None:
    assert Disagreement(why="x").as_dict() == {
        "judged": 0, "agree": 0, "left_out": 0, "suspects": 0, "kinds": [], "why_nothing": "x",
    }  # fmt: skip
