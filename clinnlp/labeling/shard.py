"""One shard labeled: all records accounted for, whatever the model does with some of them."""

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import repeat

from clinnlp.core.document import Document, Excluded, Quarantined
from clinnlp.errors import ClinnlpError, lacks_memory
from clinnlp.evaluation.attributes import OURS
from clinnlp.labeling.counts import Counts
from clinnlp.labeling.model import Predict
from clinnlp.labeling.output import EMPTY, EXCLUDED, LABELED, QUARANTINED, TOGETHER, UNTOKENIZABLE, Aside
from clinnlp.labeling.plan import Record
from clinnlp.labeling.predict import NO_TOKENS

log = logging.getLogger("clinnlp")

UNREADABLE, TOO_LONG, FAILED, NOT_FINITE, NO_MEMORY = "CLN-D201", "CLN-D202", "CLN-D301", "CLN-D320", "CLN-D330"
LEFT_OUT = "CLN-D0"  # by a rule of the user: no fault
VISIBLE = re.compile(r"[^\s\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")


class Labeler:
    """A model that answers for every document: with labels, or with the reason why there are none."""

    def __init__(self, predict: Predict, batch_tokens: int) -> None:
        self.predict, self.most = predict, batch_tokens
        self.batch_tokens = self.lowest = batch_tokens  # what memory has room for, and the least that it had lately

    def label(self, documents: Sequence[Document]) -> list[Document | Aside]:
        """An outcome for each document, in order.

        Where memory runs out, batches are halved down to single rows. Where the model fails, so are the documents,
        until those that it fails on stand alone: the others are labeled as if those were not there.
        """
        if not documents:
            return []
        try:
            found = self.predict(documents, self.batch_tokens)
            return [_checked(one) for _, one in zip(documents, found, strict=True)]
        except Exception as error:
            if lacks_memory(error) and self.batch_tokens > 1:
                self.batch_tokens //= 2
                self.lowest = min(self.lowest, self.batch_tokens)
                log.warning("out of memory: going on with %d tokens a forward pass", self.batch_tokens)
                return self.label(documents)
            if len(documents) == 1:
                if lacks_memory(error):
                    self.batch_tokens = self.most  # it was this document alone
                return [_failed(error)]
        middle = len(documents) // 2
        return self.label(documents[:middle]) + self.label(documents[middle:])

    def label_one_by_one(self, documents: Sequence[Document], starts: Callable[[int], None]) -> list[Document | Aside]:
        """As `label`, document by document; `starts` is told the place of each before the model sees it."""
        found: list[Document | Aside] = []
        for place, document in enumerate(documents):
            starts(place)
            found += self.label([document])
        return found


def sort_out(
    records: Sequence[Record], first: int, max_characters: int, condemned: Mapping[int, Aside]
) -> list[Document | Aside]:
    """The records of a shard: documents to be labeled, and the reasons why others cannot be.

    `condemned` are those, by their number in the input, that ended a worker before.
    """
    found: list[Document | Aside] = []
    for ordinal, record in enumerate(records, first):
        place = f"note {ordinal + 1} of the input"
        if isinstance(record, Excluded):
            found.append(Aside(LEFT_OUT, record.reason, place, record.id))
        elif isinstance(record, Quarantined):
            found.append(Aside(UNREADABLE, record.reason, record.where, record.id))
        elif ordinal in condemned:
            aside = condemned[ordinal]
            found.append(Aside(aside.code, aside.reason, place, record.id, record.text))
        elif len(record.text) > max_characters:
            told = f"longer than {max_characters} characters"
            found.append(Aside(TOO_LONG, told, place, record.id, record.text))
        else:
            found.append(_asked(record))
    return found


def _asked(document: Document) -> Document:
    """The document as the model sees it: without fields and attributes that the tables would take for the model's."""
    spans = (replace(s, attributes={k: v for k, v in s.attributes.items() if k not in OURS}) for s in document.spans)
    return Document(document.id, document.text, tuple(spans))


def placed(aside: Aside, ordinal: int, document: Document) -> Aside:
    """A reason that the model gave, with the document it was given for."""
    return Aside(aside.code, aside.reason, f"note {ordinal + 1} of the input", document.id, document.text)


def status_of(outcome: Document | Aside) -> str:
    """Labeled, empty (nothing that can be seen is in the text), untokenizable, quarantined or excluded."""
    if isinstance(outcome, Aside):
        return EXCLUDED if outcome.code == LEFT_OUT else QUARANTINED
    if not VISIBLE.search(outcome.text):
        return EMPTY
    return UNTOKENIZABLE if NO_TOKENS in outcome.meta else LABELED


def count(outcomes: Sequence[Document | Aside], statuses: Sequence[str]) -> Counts:
    """The account of a shard."""
    counts = Counts(
        input=len(outcomes),
        labeled=sum(isinstance(outcome, Document) for outcome in outcomes),
        empty=statuses.count(EMPTY),
        untokenizable=statuses.count(UNTOKENIZABLE),
        quarantined=statuses.count(QUARANTINED),
        excluded=statuses.count(EXCLUDED),
    )
    for outcome in outcomes:
        if isinstance(outcome, Aside):
            counts.reasons[outcome.reason] += outcome.code != LEFT_OUT
            continue
        counts.spans += len(outcome.spans)
        counts.characters += len(outcome.text)
        counts.by_label.update(_named(span.label, span.attributes.get("model")) for span in outcome.spans)
        names = (name for name, _ in outcome.meta[TOGETHER]) if TOGETHER in outcome.meta else repeat(None)
        counts.by_label.update(map(_named, outcome.labels, names))
    return counts


def _named(label: str, model: str | None) -> str:
    """A label as it is counted: several models may have it."""
    return f"{model}: {label}" if model else label


def _checked(document: Document) -> Document | Aside:
    """The document, unless it was given a score that is no number."""
    scores = [span.score for span in document.spans if span.score is not None]
    if scores and not all(map(math.isfinite, scores)):
        return Aside(NOT_FINITE, "the model answered with NaN or infinity", "")
    return document


def _failed(error: Exception) -> Aside:
    """Why a document has no labels; the words of the error may quote its text and are not kept."""
    if lacks_memory(error):
        return Aside(NO_MEMORY, "out of memory with one row at a time", "")
    if isinstance(error, ClinnlpError) and error.code == NOT_FINITE:
        return Aside(NOT_FINITE, "the model answered with NaN or infinity", "")
    return Aside(FAILED, f"the model failed ({type(error).__name__})", "")
