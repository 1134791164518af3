"""Models that cost nothing, pickled to workers by name, and a run with one of them."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clinnlp.core.document import Document, Span
from clinnlp.labeling.counts import Counts
from clinnlp.labeling.engine import open_run
from clinnlp.labeling.model import Predict
from clinnlp.labeling.options import Options
from clinnlp.labeling.plan import Record
from clinnlp.labeling.source import InMemory, Source


@dataclass(frozen=True)
class Fake:
    """Calls the first character of each text PROBLEM; a text may hold a word that makes the model misbehave."""

    name: str = "fake"
    witness: Path | None = None

    def fingerprint(self) -> dict[str, str]:
        return {"model/weights": self.name, "version.torch": "1", "device": "cpu"}

    def load(self) -> Predict:
        return self._predict

    def _predict(self, documents: Sequence[Document], batch_tokens: int) -> list[Document]:
        for document in documents:
            misbehave(document.text, batch_tokens, len(documents))
        if self.witness:
            with self.witness.open("a") as file:
                file.write("".join(f"{document.id}\n" for document in documents))
        return [replace(d, spans=(Span(0, 1, "PROBLEM", 0.123456789),) if d.text.strip() else ()) for d in documents]


def misbehave(text: str, batch_tokens: int, together: int) -> None:
    """What a word in a text makes the model do."""
    if "RAISE" in text:
        raise RuntimeError("Qvortrup")
    if "CRASH" in text:
        os._exit(11)
    if "HANG" in text:
        time.sleep(600)
    if "SLOW" in text:
        time.sleep(0.2)
    if "MEMORY" in text and batch_tokens > 256:
        raise MemoryError
    if "TOO_MUCH" in text and together > 0:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")


def notes(count: int, first: int = 0, text: str = "fever") -> list[Record]:
    return [Document(f"note-{number}", f"{text} {number}") for number in range(first, first + count)]


def label(
    out: Path | str, source: Source | Sequence[Record], model: Fake | None = None, options: Options | None = None
) -> Counts:
    """A run in this process, or with workers if the options say so."""
    model = model or Fake()
    source = InMemory(source) if isinstance(source, list) else source
    with open_run(out, source, model, model.fingerprint(), options or Options(shard_documents=3, workers=0)) as run:
        for _ in run.label():
            pass
        return run.finish()
