"""What a document says that a format of plain lines has no place for, counted by kind."""

from collections import Counter
from collections.abc import Collection, Sequence

from clinnlp.core.document import Document, Span

LOSSES = tuple(f"{kind}_not_representable" for kind in ("spans", "labels", "groups", "scores", "attributes", "meta"))


def losses(
    document: Document, written: Sequence[Span], attributes: Collection[str] = (), meta: Collection[str] = ()
) -> Counter[str]:
    """Counts under the names of `LOSSES`; scores and attributes are those of the spans that were written.

    `attributes` are held where they are strings, `meta` names the fields that are held.
    """
    counts = (
        len(document.spans) - len(written),
        len(document.labels),
        document.group is not None,
        sum(span.score is not None for span in written),
        sum(
            not (key in attributes and isinstance(value, str))
            for span in written
            for key, value in span.attributes.items()
        ),
        sum(key not in meta for key in document.meta),
    )
    return Counter(dict(zip(LOSSES, map(int, counts), strict=True)))
