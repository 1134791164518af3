"""Join gold and predicted documents by id, whatever their order."""

from collections.abc import Iterable, Sequence

from clinnlp.core.document import Document
from clinnlp.core.report import DataCounts
from clinnlp.errors import DataError

Pair = tuple[Document, Document]


def pair(gold: Iterable[Document], predicted: Iterable[Document]) -> list[Pair]:
    """Each gold document with its prediction, in the order of gold.

    Raises DataError, with counts and never ids, if ids repeat, one side lacks documents or texts differ.
    """
    golds, predictions = list(gold), list(predicted)
    by_id = {document.id: document for document in predictions}
    gold_ids = {document.id for document in golds}
    repeated = (len(golds) - len(gold_ids), len(predictions) - len(by_id))
    if any(repeated):
        raise DataError(
            f"document ids repeat: {repeated[0]} of {len(golds)} gold documents, "
            f"{repeated[1]} of {len(predictions)} predicted ones",
            next="give each note an id of its own",
        )
    alone = (len(gold_ids - by_id.keys()), len(by_id.keys() - gold_ids))
    if any(alone):
        raise DataError(
            f"gold and predictions hold different documents: {alone[0]} of {len(golds)} gold without a prediction, "
            f"{alone[1]} of {len(predictions)} predicted without gold",
            next="predict on exactly the notes of the gold data",
        )
    pairs = [(document, by_id[document.id]) for document in golds]
    changed = sum(one.text != other.text for one, other in pairs)
    if changed:
        raise DataError(
            f"texts differ between gold and predictions in {changed} of {len(pairs)} documents",
            next="predict on the very texts of the gold data, line ends included",
        )
    return pairs


def count_data(documents: Sequence[Document]) -> DataCounts:
    """Documents, groups, empty texts, and how long the texts are."""
    lengths = sorted(len(document.text) for document in documents) or [0]
    groups = {document.group for document in documents if document.group is not None}
    return DataCounts(
        documents=len(documents),
        groups=len(groups) if groups else None,
        characters=sum(lengths),
        empty=sum(not document.text.strip() for document in documents),
        shortest=lengths[0],
        median=lengths[(len(lengths) - 1) // 2],
        longest=lengths[-1],
    )
