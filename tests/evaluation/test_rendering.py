import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinnlp.core.document import Document, Span
from clinnlp.core.report import EntityReport, LabelScores, Report, Score, SpanCounts
from clinnlp.evaluation.entity import evaluate_spans
from clinnlp.evaluation.notes import evaluate_notes
from clinnlp.evaluation.page import Surroundings, html_report
from clinnlp.evaluation.rendering import entity_table, notes_table, printable, scorer_table, text_report
from clinnlp.evaluation.score import evaluate
from tests.evaluation.flat import TokenSpan, disturb, documents, flat_corpus, read_iob2, tags


def seqeval_report(lengths: list[int], gold: list[list[TokenSpan]], predicted: list[list[TokenSpan]]) -> str:
    from seqeval.metrics import classification_report
    from seqeval.scheme import IOB2

    marks = [[tags(s, n) for s, n in zip(side, lengths, strict=True)] for side in (gold, predicted)]
    report = classification_report(*marks, mode="strict", scheme=IOB2, zero_division=0, digits=4)
    assert isinstance(report, str)
    return report


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**9))
def test_table_is_seqevals_on_random_flat_data(seed: int) -> None:
    lengths, gold, predicted = flat_corpus(seed)
    report = evaluate_spans(documents(lengths, gold), documents(lengths, predicted), ["declared"], resamples=2)
    assert entity_table(report) == seqeval_report(lengths, gold, predicted)


def test_table_is_seqevals_where_ratios_are_undefined_or_end_in_five() -> None:
    # never predicted, not in gold, and 1/32 = 0.03125, where the last digit hangs on how F1 was rounded
    gold: list[list[TokenSpan]] = [[(0, 1, "A"), (2, 3, "C")] + [(n, n + 1, "D") for n in range(10, 42)]]
    predicted: list[list[TokenSpan]] = [[(2, 3, "B"), (4, 5, "C")] + [(n, n + 1, "D") for n in range(41, 73)]]
    report = evaluate_spans(documents([80], gold), documents([80], predicted))
    assert entity_table(report) == seqeval_report([80], gold, predicted)


@pytest.mark.parametrize("corpus", ["NCBI-disease-IOB", "BC5CDR-IOB"])
def test_table_is_seqevals_on_a_real_corpus(shared: Path, corpus: str) -> None:
    path = shared / "data" / "mtl_bio" / corpus / "test.tsv"
    if not path.is_file():
        pytest.skip(f"shared/data/mtl_bio/{corpus} is not beside this checkout")
    lengths, gold = read_iob2(path)
    rng = random.Random(1)
    labels = sorted({label for spans in gold for _, _, label in spans})
    predicted = [disturb(rng, spans, [*labels, "Other"]) for spans in gold]
    report = evaluate_spans(documents(lengths, gold), documents(lengths, predicted), resamples=100)
    assert report.gold.total > 900
    assert entity_table(report) == seqeval_report(lengths, gold, predicted)
    assert text_report(Report(entity=report)).startswith(entity_table(report))


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_notes_table_is_sklearns(seed: int, multi: bool) -> None:
    from sklearn.metrics import classification_report
    from sklearn.preprocessing import MultiLabelBinarizer

    rng = random.Random(seed)
    names = ["progress note", "discharge summary", "C"]
    gold, predicted = (
        [Document(str(n), "", labels=tuple(rng.sample(names, rng.randint(0, 2) if multi else 1))) for n in range(25)]
        for _ in range(2)
    )
    ours = notes_table(evaluate_notes(gold, predicted, multi_label=multi, resamples=2))
    if not multi:
        truth, guess = ([d.labels[0] for d in side] for side in (gold, predicted))
        assert ours == classification_report(truth, guess, digits=4, zero_division=0)
        return
    binarizer = MultiLabelBinarizer().fit([d.labels for d in (*gold, *predicted)])
    truth, guess = (binarizer.transform([d.labels for d in side]) for side in (gold, predicted))
    theirs = classification_report(truth, guess, digits=4, zero_division=0, target_names=list(binarizer.classes_))
    assert ours == theirs[: theirs.rindex("\n", 0, theirs.index(" samples avg")) + 1]


def test_scorers_stand_side_by_side() -> None:
    """One of two spans is right, one is a character short: 2 of 3 characters of gold A 2:5 are found.

    Characters: 4 found of 5 in gold, none beyond: precision 1, recall 0.8. Partial: (1 + 0.5) / 2.
    """
    gold = [Document("1", "ab cde", spans=(Span(0, 2, "A"), Span(3, 6, "A")))]
    predicted = [Document("1", "ab cde", spans=(Span(0, 2, "A", 0.9), Span(3, 5, "A", 0.4)))]
    report = evaluate(gold, predicted).entity
    assert report is not None
    rows = {line.split()[0]: line.split()[1:4] for line in scorer_table(report).splitlines() if line.strip()}
    assert rows["strict"] == rows["exact"] == ["0.5000", "0.5000", "0.5000"]
    assert rows["partial"] == ["0.7500", "0.7500", "0.7500"]
    assert rows["overlap"] == rows["type"] == ["1.0000", "1.0000", "1.0000"]
    assert rows["character"] == ["1.0000", "0.8000", "0.8889"]
    beside = {line.split()[0]: line.split()[4:10] for line in scorer_table(report).splitlines() if line.strip()}
    assert beside["scorer"] == ["iou", "correct", "incorrect", "partial", "missed", "spurious"]
    assert beside["strict"] == ["-", "1", "1", "0", "0", "0"]
    assert beside["partial"] == ["-", "1", "0", "1", "0", "0"]
    assert beside["overlap"] == ["-", "2", "-", "-", "0", "0"]
    assert beside["character"] == ["0.8000", "4", "-", "-", "1", "0"], "4 of 5 characters that either side covers"
    assert "Recall at precision 0.90: 0.5000, from score 0.9000 on." in scorer_table(report)
    assert "Scorers side by side" in html_report(evaluate(gold, predicted), "t", {})


def test_intervals_of_few_groups_are_said_to_be_too_narrow() -> None:
    told = "With fewer than 50 documents intervals are too narrow: see docs/statistics.md"
    for count, few in ((49, True), (50, False)):
        notes = [Document(str(n), "ab", spans=(Span(0, 2, "A"),), labels=("L",)) for n in range(count)]
        said = [Document(d.id, d.text, spans=d.spans[: n % 2], labels=d.labels) for n, d in enumerate(notes)]
        report = evaluate(notes, said)
        assert text_report(report).count(told) == html_report(report, "t", {}).count(told) == (2 if few else 0)


def test_macro_f1_over_the_labels_in_gold_is_told_where_others_were_predicted() -> None:
    """A is right; B is predicted and not in gold, which seqeval's macro average counts as 0."""
    gold = [Document(str(n), "ab cd", spans=(Span(0, 2, "A"),)) for n in range(2)]
    said = [Document(d.id, d.text, spans=(*d.spans, Span(3, 5, "B"))) for d in gold]
    report = evaluate(gold, said, labels=["A", "B", "C"])
    values = report.as_dict()["entity"]["strict"]
    assert (values["macro"]["f1"], values["macro_in_gold"]["f1"]) == (0.5, 1.0)
    assert "Macro F1 over the labels in gold alone (1): 1.0000.\n" in text_report(report)
    assert "labels in gold alone" not in text_report(evaluate(gold, gold, labels=["A", "B"]))


def test_text_names_what_the_table_cannot_say() -> None:
    gold = [
        Document("1", "x" * 50, spans=(Span(0, 9, "A", fragments=((0, 3), (5, 9))), Span(1, 4, "A"), Span(1, 4, "B"))),
        Document("2", " "),
    ]
    predicted = [Document("1", "x" * 50, spans=(Span(1, 4, "A"), Span(1, 4, "C\x1b[31m"))), Document("2", " ")]
    report = evaluate(gold, predicted, labels=["A", "B", "D"])
    assert report.entity is not None
    text = text_report(report).replace(scorer_table(report.entity) + "\n", "")  # has a test of its own
    text = re.sub(r"[\d,]+ resamples", "N resamples", text)  # those with something to score
    assert text == (
        "              precision    recall  f1-score   support\n"
        "\n"
        "           A     1.0000    0.5000    0.6667         2\n"
        "           B     0.0000    0.0000    0.0000         1\n"
        "   C\\x1b[31m     0.0000    0.0000    0.0000         0\n"
        "\n"
        "   micro avg     0.5000    0.3333    0.4000         3\n"
        "   macro avg     0.3333    0.1667    0.2222         3\n"
        "weighted avg     0.6667    0.3333    0.4444         3\n"
        "\n"
        "Strict: bounds, label and fragments must all agree; whole documents, in characters.\n"
        "Gold entities in the data = scored = 3; predicted 2; documents 2, 1 of them without gold entities.\n"
        "A document without gold entities counts by its spurious ones alone.\n"
        "Micro F1 0.4000, 95% interval 0.4000 to 0.4000 (percentile bootstrap: N resamples of 2 documents).\n"
        "With fewer than 50 documents intervals are too narrow: see docs/statistics.md.\n"
        "Declared labels in neither gold nor predictions, left out of the averages: D.\n"
        "Labels absent from gold, recall undefined: C\\x1b[31m.\n"
        "Macro F1 over the labels in gold alone (2): 0.3333.\n"
        "Labels never predicted, precision undefined: B.\n"
        "Undefined ratios are printed as 0 and count as 0 in the averages; metrics.json has null for them.\n"
        "Gold entities that flat tags cannot hold: 1 discontinuous, 3 overlapping, 0 duplicate.\n"
        "\n"
        "               f1-score  95% interval\n"
        "\n"
        "           A     0.6667  0.6667 to 0.6667\n"
        "           B     0.0000  0.0000 to 0.0000\n"
        "   C\\x1b[31m     0.0000  0.0000 to 0.0000\n"
        "\n"
        "Data: 2 documents, no groups, 51 characters (1 to 50 each, median 1), 1 empty texts.\n"
    )


def test_text_of_nothing_says_so() -> None:
    text = text_report(evaluate([Document("1", "a")], [Document("1", "a")]))
    assert "   micro avg        nan       nan       nan         0\n" in text
    assert "Micro F1 undefined, without an interval: there is nothing to score.\n" in text
    text = text_report(evaluate([], [], task="note_classification"))
    assert "Accuracy undefined, without an interval" in text


def test_one_patient_has_no_interval_and_the_reports_say_why() -> None:
    gold = [Document(str(n), "abcd", spans=(Span(0, 1, "A"),), labels=("L",), group="p") for n in range(4)]
    report, why = evaluate(gold, gold), "all is of one document or group, and it takes two"
    text, page = text_report(report), html_report(report, "t", {})
    assert (
        f"Micro F1 1.0000, without an interval: {why}.\n" in text
        and f"Accuracy 1.0000, without an interval: {why}" in text
    )
    assert page.count(f"no interval: {why}") == 2 and "95% interval" not in text


def test_labels_have_intervals_in_text_and_page() -> None:
    spans = (Span(0, 1, "A"), Span(2, 3, "B"))
    gold = [Document(str(n), "abcd", spans=spans, labels=("L",), group=f"p{n // 2}") for n in range(20)]
    predicted = [Document(str(n), "abcd", spans=spans[: 1 + n % 3 // 2], labels=("L",)) for n in range(20)]
    report = evaluate(gold, predicted)
    assert report.entity is not None and report.entity.strict.label_intervals is not None
    of_b = report.entity.strict.label_intervals["B"]
    assert of_b.low < report.entity.strict.per_label["B"].f1 < of_b.high and of_b.unit == "group"
    assert f"           B     0.4615  {of_b.low:.4f} to {of_b.high:.4f}\n" in text_report(report)
    page = html_report(report, "t", {})
    assert f'<span class="counts">{100 * of_b.low:.1f} to {100 * of_b.high:.1f}</span>' in page
    bca = evaluate(gold, predicted, method="bca")
    assert bca.entity is not None and bca.entity.strict.f1_interval is not None
    assert bca.entity.strict.f1_interval.method == "bca" and "(BCa bootstrap: " in text_report(bca)
    assert bca.as_dict()["entity"]["strict"]["per_label"]["B"]["f1_interval"]["method"] == "bca"


def test_what_stands_around_the_scores() -> None:
    around = Surroundings({"model": "m"}, {"data.test": "<b>"}, waived=["groups: 3"], notices=["look <here>"])
    page = html_report(evaluate([Document("1", "a")], [Document("1", "a")]), "t", around)
    order = [
        page.index(part) for part in ("Waived", "groups: 3", "Read first", "look &lt;here&gt;", "Entities, strict")
    ]
    assert order == sorted(order)
    assert "<summary>All 1 settings</summary>" in page and "<td>&lt;b&gt;</td>" in page


def test_text_of_notes_has_prevalence_and_average_precision() -> None:
    gold = [Document("1", "a", labels=("A",)), Document("2", "b", labels=("B",)), Document("3", "c", labels=("A",))]
    scores = [{"A": 0.9, "B": 0.1}, {"A": 0.2, "B": 0.8}, {"A": 0.6, "B": 0.4}]
    predicted = [
        Document(d.id, d.text, labels=d.labels, meta={"label_scores": s}) for d, s in zip(gold, scores, strict=True)
    ]
    text = text_report(evaluate(gold, predicted))
    assert "Accuracy 1.0000, 95% interval 1.0000 to 1.0000 (percentile" in text
    assert "Average precision: macro 1.0000 over the 2 labels in gold.\n" in text
    assert "           A      0.6667             1.0000\n           B      0.3333             1.0000\n" in text
    without = text_report(evaluate(gold, gold))
    assert "Average precision: not computed, the predictions carry no label scores.\n" in without
    assert "           A      0.6667                  -\n" in without
    several = text_report(Report(notes=evaluate_notes(gold, gold, multi_label=True)))
    assert "Subset accuracy (all labels of a note right) 1.0000" in several


def test_both_tasks_stand_in_one_text() -> None:
    notes = [Document("1", "some text", spans=(Span(0, 4, "A"),), labels=("L",))]
    report = evaluate(notes, notes)
    assert report.entity is not None and report.notes is not None
    text = text_report(report)
    assert entity_table(report.entity) in text and notes_table(report.notes) in text


def test_printable_escapes_what_a_terminal_would_obey() -> None:
    assert printable("a\x1b[2J\r\n\x9b\u202eb\u2028\u200b\ud800") == "a\\x1b[2J\\r\\n\\x9b\\u202eb\\u2028\\u200b\\ud800"
    assert printable("Größe 大 (mg)") == "Größe 大 (mg)"


EVIL = "<script>alert(1)</script>\"'&\u202e\x00"


def test_a_name_of_ten_thousand_characters_is_cut_where_it_is_shown() -> None:
    long = "x" * 10_000
    gold = [Document(str(n), "abcd", spans=(Span(0, 1, long),), labels=(long,), group=str(n)) for n in range(3)]
    report = evaluate(gold, gold)
    cut = "x" * 79 + "…"
    for text in (text_report(report), html_report(report, "t", {})):
        assert cut in text and "x" * 80 not in text
    assert long in report.as_dict()["entity"]["strict"]["per_label"], "the key is whole"


def page_of_evil_names() -> str:
    text = "Canary Jane Doe has asthma"
    gold = [Document("canary-id", text, spans=(Span(0, 6, EVIL),), labels=(EVIL,)), Document("2", text, labels=("B",))]
    predicted = [Document("canary-id", text, labels=("B",)), Document("2", text, spans=(Span(0, 6, EVIL),))]
    return html_report(evaluate(gold, predicted), EVIL, {EVIL: EVIL, "model": "<b>"})


def test_page_is_self_contained_and_escaped() -> None:
    page = page_of_evil_names()
    assert "<script" not in page and "\u202e" not in page and "\x00" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;\\u202e\\x00" in page
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    assert page.index(policy) < page.index("<style>")
    assert not re.search(r"https?:|//|url\(|@import|\bsrc=|\bhref=|\bon\w+=", page.replace("'none'; style-src", ""))
    assert "Canary" not in page and "canary" not in page


def test_a_page_of_five_thousand_labels_stays_under_a_megabyte_and_names_the_rest() -> None:
    labels = [f"label-{n:04}" for n in range(5_000)]
    scores = LabelScores({label: Score(1, 0, int(label == "label-4999")) for label in labels})
    entity = EntityReport(scores, SpanCounts(5_001), SpanCounts(5_000), documents=5_000)
    page = html_report(Report(entity=entity), "t", {})
    assert len(page) < 1_000_000
    assert page.count('<th scope="row" class="name">') == 300
    assert "label-4999" in page, "the most frequent come first"
    assert "The other 4,700 labels, the least frequent, stand in metrics.json." in page


def test_page_shows_the_figures_and_the_interval() -> None:
    spans = (Span(0, 1, "A"), Span(2, 3, "A"))
    gold = [Document(str(n), "abcd", spans=spans, group=f"p{n // 2}") for n in range(8)]
    predicted = [Document(str(n), "abcd", spans=spans[: 1 + n % 2]) for n in range(8)]
    report = evaluate(gold, predicted)
    page = html_report(report, "Run of today", {"seed": "13"})
    assert report.entity is not None and report.entity.strict.micro.tp == 12
    for shown in ("<h1>Run of today</h1>", "<b>85.7</b>", "12 found", "4 missed", "0 spurious", "seed", "of 4 groups"):
        assert shown in page
    assert "Gold entities in the data = scored = 16; predicted 12;" in page
    assert page == html_report(evaluate(gold, predicted), "Run of today", {"seed": "13"})
    assert len(page) < 20_000


@pytest.mark.parametrize("task", ["ner", "note_classification"])
def test_page_of_nothing(task: str) -> None:
    page = html_report(evaluate([], [], task=task), "nothing", {})  # type: ignore[arg-type]
    assert "no interval: there is nothing to score" in page and "nan" not in page
