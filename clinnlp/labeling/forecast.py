"""How long a labeling run will take, from a probe on some of its own notes."""

import math
import os
import random
import resource
import sys
import time
from collections.abc import Sequence
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


def forecast(sample: "Sample", model: Model, options: Options) -> Forecast:
    """Label a sample of the notes with one worker's share of the machine, and reckon how long all of them will take.

    Nothing is written. The time to read the input (twice: to plan and to label) and to load the model is part of it.
    """
    workers = max(options.workers, 1)
    use_a_share(options)
    begun = time.perf_counter()
    predict = model.load()
    loading = time.perf_counter() - begun
    rate = _rate(predict, sample.kept, options.batch_tokens)
    labeling = sample.characters / rate / workers if sample.characters else 0.0
    return Forecast(
        sample.records, sample.offered, sample.characters, len(sample.kept), rate, loading,
        2 * sample.seconds + loading + labeling, _peak_bytes(), workers,
    )  # fmt: skip


class Sample:
    """A uniform sample of the notes of a run, drawn without knowing how many there are (Vitter 1985), and their sums.

    `kept` are drawn from the documents that the model will see: one of those with the same text in a shard, none that
    is too long. `seconds` is how long it took to read them all.
    """

    def __init__(self, source: Source, options: Options, most: int = PROBED) -> None:
        self.most, self.random = most, random.Random(SEED)
        self.kept: list[Document] = []
        self.records = self.offered = self.characters = 0
        begun = time.perf_counter()
        for part in cut(source.records(), options.shard_documents):
            self.records += len(part)
            documents = (record for record in part if isinstance(record, Document))
            first = {document.text: document for document in documents if len(document.text) <= options.max_characters}
            for document in first.values():
                self._offer(document)
        self.seconds = time.perf_counter() - begun

    def _offer(self, document: Document) -> None:
        """Count a document and keep it, perhaps."""
        self.offered += 1
        self.characters += len(document.text)
        if len(self.kept) < self.most:
            self.kept.append(document)
        elif (place := self.random.randrange(self.offered)) < self.most:
            self.kept[place] = document


def _rate(predict: Predict, documents: Sequence[Document], batch_tokens: int) -> float:
    """Characters a second; the first document warms the model up and is not timed on its own."""
    if not documents:
        return math.inf
    labeler = Labeler(predict, batch_tokens)
    labeler.label(documents[:1])
    begun = time.perf_counter()
    labeler.label(documents)
    return max(sum(len(document.text) for document in documents), 1) / (time.perf_counter() - begun)


def use_a_share(options: Options) -> None:
    """Compute, from now on, with the threads that each of several workers will have."""
    if options.workers > 1:
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 1) // options.workers))


def _peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
