"""How long a labeling run will take, from a probe on some of its own notes."""

import math
import os
import random
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clinnlp.core.document import Document
from clinnlp.labeling.model import Model, Predict
from clinnlp.labeling.options import Options
from clinnlp.labeling.plan import cut
from clinnlp.labeling.shard import Labeler
from clinnlp.labeling.source import Source

PROBED = 200  # notes
SEED = 13


@dataclass(frozen=True)
class Forecast:
    """What a probe says of a run: `seconds` for all of it, `peak_bytes` of memory for each worker.

    `read` are the notes that the model will see, since equal texts of a shard are read once, and `characters` theirs.
    """

    records: int
    read: int
    characters: int
    probed: int
    characters_per_second: float
    load_seconds: float
    seconds: float
    peak_bytes: int
    workers: int

    @property
    def notes_per_second(self) -> float:
        """Records of the input over the time of the whole run."""
        return self.records / self.seconds if self.seconds else math.nan

    def cost(self, price_per_hour: float) -> float:
        """The price of a million notes like these, in the unit of the price of an hour."""
        return 1e6 / self.notes_per_second / 3600 * price_per_hour


def forecast(source: Source, model: Model, options: Options, probed: int = PROBED) -> Forecast:
    """Count the notes, label a random sample of them with one worker's share of the machine, and reckon.

    Nothing is written. The time to read the input (twice: to plan and to label) and to load the model is part of it.
    """
    begun = time.perf_counter()
    sample = _Sample(probed)
    for document in _read_once(source, options, sample):
        sample.offer(document)
    reading = time.perf_counter() - begun
    workers = max(options.workers, 1)
    if options.workers > 1:
        _use_a_share(workers)
    begun = time.perf_counter()
    predict = model.load()
    loading = time.perf_counter() - begun
    rate = _rate(predict, sample.kept, options.batch_tokens)
    labeling = sample.characters / rate / workers if sample.characters else 0.0
    return Forecast(
        sample.records, sample.offered, sample.characters, len(sample.kept), rate, loading,
        2 * reading + loading + labeling, _peak_bytes(), workers,
    )  # fmt: skip


class _Sample:
    """A uniform sample of what is offered, without knowing how much that will be (Vitter 1985), and its sums."""

    def __init__(self, most: int) -> None:
        self.most, self.random = most, random.Random(SEED)
        self.kept: list[Document] = []
        self.records = self.offered = self.characters = 0

    def offer(self, document: Document) -> None:
        """Count a document and keep it, perhaps."""
        self.offered += 1
        self.characters += len(document.text)
        if len(self.kept) < self.most:
            self.kept.append(document)
        elif (place := self.random.randrange(self.offered)) < self.most:
            self.kept[place] = document


def _read_once(source: Source, options: Options, sample: _Sample) -> Iterator[Document]:
    """The documents that the model will see: one of those with the same text in a shard, none that is too long."""
    for part in cut(source.records(), options.shard_documents):
        sample.records += len(part)
        documents = (record for record in part if isinstance(record, Document))
        first = {document.text: document for document in documents if len(document.text) <= options.max_characters}
        yield from first.values()


def _rate(predict: Predict, documents: Sequence[Document], batch_tokens: int) -> float:
    """Characters a second; the first document warms the model up and is not timed on its own."""
    if not documents:
        return math.inf
    labeler = Labeler(predict, batch_tokens)
    labeler.label(documents[:1])
    begun = time.perf_counter()
    labeler.label(documents)
    return max(sum(len(document.text) for document in documents), 1) / (time.perf_counter() - begun)


def _use_a_share(workers: int) -> None:
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))


def _peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
