import json
from dataclasses import replace

import pytest

from clinnlp.core.document import Document, Span
from clinnlp.errors import DataError
from clinnlp.evaluation.error_report import ErrorReport, analyse_notes, analyse_spans, error_tables
from clinnlp.evaluation.properties import Slicing
from clinnlp.evaluation.report_panels import error_panels
from tests.evaluation import planted

QUICK = Slicing(resamples=50)


def test_the_report_of_spans() -> None:
    gold = planted.notes(60)
    predicted = planted.predict(gold, lambda d, s: 4 * s.start >= 3 * len(d.text))
    report = analyse_spans(gold, predicted, planted.how(200), perfect=gold, read=[[(0, len(d.text))] for d in gold])
    content = report.as_dict()
    assert list(content) == ["entity"]
    entity = content["entity"]
    total = sum(len(document.spans) for document in gold)
    missed = sum(kind["gold"] for kind in entity["kinds"].values())
    assert (
        entity["losses"]["gold"] == total and entity["losses"]["model"] == missed == total - entity["losses"]["found"]
    )
    assert entity["slices"]["by"]["position"]["tail"]["recall"] == 0.0
    assert entity["slices"]["worst"][0] == {"dimension": "position", "cell": "tail", "worse": True}
    # kinds by slice add up to the errors of the slice
    tail = entity["slices"]["by"]["position"]["tail"]
    assert sum(tail["kinds"].values()) == tail["fp"] + tail["fn"]
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_the_report_holds_no_text_and_no_ids() -> None:
    def canary(text: str) -> Document:
        return Document(f"CANARY-{len(text)}", text, (Span(0, 6, "A"), Span(10, 16, "B")), ("x",), "CANARY-patient")

    gold = [canary("CANARY or CANARY: yes" + "." * n) for n in range(40)]
    gold = [replace(document, group=f"CANARY-{n}") for n, document in enumerate(gold)]
    predicted = [replace(document, spans=document.spans[:1], labels=("y",)) for document in gold]
    how = replace(planted.how(50), note_type="missing")
    for report in (analyse_spans(gold, predicted, how, perfect=gold), analyse_notes(gold, predicted, how)):
        assert "CANARY" not in json.dumps(report.as_dict(), allow_nan=False) + error_tables(report)


def test_the_tables() -> None:
    notes = [Document(str(n), "a fever today", (Span(2, 7, "A"), Span(8, 13, "B\x1b[31m"))) for n in range(60)]
    nested = replace(notes[0], spans=(*notes[0].spans, Span(2, 5, "A")))
    gold = [nested, *notes[1:]]
    predicted = [replace(document, spans=document.spans[:1]) for document in notes]
    printed = error_tables(analyse_spans(gold, predicted, QUICK, perfect=notes))
    assert "\x1b" not in printed
    # 60 found; 60 B missed by the model, one nested span: 121 gold
    assert printed.startswith("""\
error            errors      gold  predicted
missed               61        61          0
spurious              0         0          0
boundary              0         0          0
type                  0         0          0
boundary+type         0         0          0
split                 0         0          0
merged                0         0          0

Gold spans 121, found 60; the others, in spans and points of recall.
Lost to the flat scheme 1 (0.83): 1 nested, 0 overlapping, 0 discontinuous.
Lost to alignment 0 (0.00): 0 with other bounds, 0 without a unit.
Lost to windows 0 (0.00), to the model 60 (49.59).

slice """)
    row = next(line for line in printed.split("\n") if line.startswith("label"))
    # 60 errors in 60 gold and predicted spans, 61 in 181 overall: 60 - 60 * 61 / 181 = 39.8 above
    assert row.split() == ["label:", "B\\x1b[31m", "*", "60", "39.8", "0.000", "-0.992", "-1.000", "to", "-0.976"] or (
        row.split()[:7] == ["label:", "B\\x1b[31m", "*", "60", "39.8", "0.000", "-0.992"]
    )
    assert "about 0.0 would have a * by chance alone" in printed
    assert "Slices under 11 are not shown, under 50 not ranked." in printed


def test_the_report_of_notes() -> None:
    gold = [Document(str(n), "x" * n, labels=("A" if n % 2 else "B",)) for n in range(1, 121)]
    predicted = [replace(document, labels=("A",)) for document in gold]
    report = analyse_notes(gold, predicted, QUICK)
    content = report.as_dict()
    assert list(content) == ["notes"]
    assert content["notes"]["slices"]["by"]["label"]["B"]["accuracy"] == 0.0
    assert content["notes"]["slices"]["worst"][0] == {"dimension": "label", "cell": "B", "worse": True}
    printed = error_tables(report)
    assert printed.split("\n")[1].split()[:6] == ["label:", "B", "*", "60", "30.0", "0.000"]
    assert "accuracy" in printed.split("\n")[0]


def test_nothing_to_explain() -> None:
    empty = [Document("1", "")]
    for report in (analyse_spans([], []), analyse_spans(empty, empty, perfect=empty), analyse_notes([], [])):
        assert json.dumps(report.as_dict(), allow_nan=False)
        assert "No slice" in error_tables(report)
    assert ErrorReport().as_dict() == {} and error_tables(ErrorReport()) == ""
    assert analyse_spans([], []).as_dict()["entity"]["losses"] is None
    perfect = planted.notes(40)
    found = analyse_spans(perfect, perfect, QUICK)
    assert found.spans is not None and found.as_dict()["entity"]["slices"]["worst"] == []
    told = "No slice of 50 spans or more has more errors than the overall F1 would give"
    assert error_tables(found).endswith(f"\n{told}.\n"), "no heads without rows"
    (panel,) = list(error_panels(found))[1:]
    assert (panel.facts, panel.tables) == ((told,), ())


def test_documents_must_be_the_same() -> None:
    with pytest.raises(DataError, match="gold and predictions hold different documents"):
        analyse_spans([Document("1", "")], [])
    with pytest.raises(DataError, match="gold and predictions hold different documents"):
        analyse_notes([], [Document("1", "")])
