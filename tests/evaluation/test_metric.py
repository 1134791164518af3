import os
import subprocess
import sys

import pytest

from clinnlp.errors import DataError


def row(name: str, *spans: dict[str, object]) -> dict[str, object]:
    return {"id": name, "spans": list(spans)}


def span(start: int, end: int, label: str) -> dict[str, object]:
    return {"start": start, "end": end, "label": label}


def test_metric_computes_offline_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from clinnlp.evaluation.metric import SpanF1

    references = [row("1", span(0, 5, "A") | {"score": 0.5}, span(6, 9, "B")), row("2")]
    predictions = [row("2", span(1, 2, "C")), row("1", span(0, 5, "A"), span(6, 10, "B"))]
    metric = SpanF1()
    result = metric.compute(predictions=predictions, references=references, labels=["D"])
    assert metric.keep_in_memory and metric.cache_file_name is None
    assert result["precision"] == pytest.approx(1 / 3)
    assert result["recall"] == 0.5
    assert result["f1"] == result["micro"]["f1"] == pytest.approx(0.4)
    assert result["per_label"]["A"]["tp"] == 1
    assert result["absent_from_gold"] == ["C", "D"]


def test_metric_takes_fragments_and_batches() -> None:
    from clinnlp.evaluation.metric import SpanF1

    pieces = span(0, 9, "A") | {"fragments": [[0, 3], [5, 9]]}
    metric = SpanF1()
    metric.add_batch(predictions=[row("1", pieces)], references=[row("1", pieces)])
    metric.add(prediction=row("3"), reference=row("3"))
    metric.add_batch(predictions=[row("2", pieces)], references=[row("2", span(0, 9, "A"))])
    result = metric.compute()
    assert (result["micro"]["tp"], result["micro"]["fp"], result["micro"]["fn"]) == (1, 1, 1)


def test_metric_refuses_other_documents() -> None:
    from clinnlp.evaluation.metric import SpanF1

    with pytest.raises(DataError, match="hold different documents: 1 of 1 gold without a prediction"):
        SpanF1().compute(predictions=[row("2")], references=[row("1")])


def test_metric_refuses_other_rows_without_printing_them() -> None:
    from clinnlp.evaluation.metric import SpanF1

    with pytest.raises(DataError) as caught:
        SpanF1().compute(predictions=["B-A O"], references=["B-A O"])
    assert str(caught.value) == "a row is not {'id', 'spans': [{'start', 'end', 'label'}]}."


def test_scoring_does_not_import_the_metric() -> None:
    code = (
        "import sys, clinnlp.evaluation.score, clinnlp.evaluation.rendering;"
        "print([m for m in ('evaluate', 'torch', 'sklearn', 'scipy', 'jinja2', 'datasets') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "[]\n"
