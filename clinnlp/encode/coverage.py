"""What a tokenizer and one window make of notes: tokens, unknown ones, and what lies beyond the window."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from clinnlp.core.document import Document
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.tags import Alignment, spans_to_tags
from clinnlp.encode.tokens import NoteTokenizer, Tokens, units

BATCH = 512  # notes tokenized at once


def coverage(documents: Sequence[Document], tokenizer: NoteTokenizer, window: int) -> tuple[list[int], dict[str, Any]]:
    """The tokens of each note, and counts over all of them.

    `beyond` counts what does not fit into the first window of `window` tokens, specials included: a tool that
    truncates would lose it, clinnlp reads it in further windows. A unit is a run of letters, a run of digits or
    one other sign; tokens over units is the fertility. `alignment` is the ledger of the spans as flat tags.
    """
    room = window - tokenizer.specials
    schema = LabelSchema.of({span.label for document in documents for span in document.spans})
    ledger, lengths = Alignment(), []
    counts = {"units": 0, "unknown": 0, "notes beyond": 0, "spans beyond": 0}
    for start in range(0, len(documents), BATCH):
        some = documents[start : start + BATCH]
        for document, tokens in zip(some, tokenizer.encode_many([d.text for d in some]), strict=True):
            marks = units(document.text, tokens)
            lengths.append(len(tokens))
            counts["units"] += int(marks.sum())
            counts["unknown"] += int((tokens.ids == tokenizer.hf.unk_token_id).sum())
            counts["notes beyond"] += len(tokens) > room
            counts["spans beyond"] += _beyond(document, tokens, room)
            if document.spans:
                ledger += spans_to_tags(document, tokens, marks, schema)[1]
    total = sum(lengths)
    return lengths, {
        "window": window,
        "tokens": total,
        **counts,
        "fertility": total / counts["units"] if counts["units"] else None,
        "unknown rate": counts["unknown"] / total if total else None,
        "spans": ledger.total,
        "unrepresentable": ledger.unrepresentable,
        "alignment": ledger.as_dict(),
    }


def _beyond(document: Document, tokens: Tokens, room: int) -> int:
    """How many spans end after the last character of the first `room` tokens."""
    if len(tokens) <= room:
        return 0
    last = int(tokens.offsets[room - 1, 1])
    return int(np.sum([span.end > last for span in document.spans]))
