"""The strict span scorer as an `evaluate.Metric`: works offline, by `SpanF1().compute(...)`.

Nothing else imports this module: `import evaluate` takes seconds and loads torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import evaluate

from clinnlp.core.document import Document, Span
from clinnlp.errors import DataError
from clinnlp.evaluation.entity import evaluate_spans

_DESCRIPTION = "Strict precision, recall and F1 of labelled spans over whole documents, in characters."
_INPUTS = """
predictions, references: one {"id": str, "spans": [{"start": int, "end": int, "label": str}]} per document, joined
    by id; a discontinuous span also has "fragments": [[start, end], ...].
labels: declared labels, which may be absent from the data.
Returns metrics.json's entity.strict: micro, macro, weighted, per_label, absent_from_gold; and f1, precision, recall.
"""


class SpanF1(evaluate.Metric):
    """Strict span F1; what it is given stays in memory, where evaluate would write it into its cache."""

    def __init__(self, keep_in_memory: bool = True) -> None:
        super().__init__(keep_in_memory=keep_in_memory)

    def add(self, *, prediction: Mapping[str, Any], reference: Mapping[str, Any]) -> None:
        """Add one document."""
        super().add(prediction=_plain(prediction), reference=_plain(reference))

    def add_batch(self, *, predictions: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]]) -> None:
        """Add documents."""
        super().add_batch(
            predictions=[_plain(row) for row in predictions], references=[_plain(row) for row in references]
        )

    def _info(self) -> evaluate.MetricInfo:
        import datasets

        span = {
            "start": datasets.Value("int64"),
            "end": datasets.Value("int64"),
            "label": datasets.Value("string"),
            "fragments": datasets.List(datasets.List(datasets.Value("int64"))),
        }
        document = {"id": datasets.Value("string"), "spans": datasets.List(span)}
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": document, "references": document}),
        )

    def _compute(
        self,
        predictions: Sequence[Mapping[str, Any]],
        references: Sequence[Mapping[str, Any]],
        labels: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        length = max((s["end"] for row in (*predictions, *references) for s in row["spans"]), default=0)
        report = evaluate_spans(_documents(references, length), _documents(predictions, length), labels)
        strict: dict[str, Any] = report.strict.as_dict()
        return {name: strict["micro"][name] for name in ("f1", "precision", "recall")} | strict


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with all keys that the features name and no others, as evaluate demands."""
    try:
        spans = [
            {"start": s["start"], "end": s["end"], "label": s["label"], "fragments": s.get("fragments") or []}
            for s in row["spans"]
        ]
        return {"id": row["id"], "spans": spans}
    except (KeyError, TypeError, AttributeError):  # evaluate's own message would print the rows
        raise DataError("a row is not {'id', 'spans': [{'start', 'end', 'label'}]}") from None


def _documents(rows: Sequence[Mapping[str, Any]], length: int) -> list[Document]:
    blank = " " * length  # the metric is given no text, and spans must lie inside one
    return [Document(row["id"], blank, tuple(_span(span) for span in row["spans"])) for row in rows]


def _span(row: Mapping[str, Any]) -> Span:
    fragments = tuple((start, end) for start, end in row.get("fragments") or ())
    return Span(row["start"], row["end"], row["label"], fragments=fragments)
