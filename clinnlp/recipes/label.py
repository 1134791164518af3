"""`clinnlp label`: notes in any format become Parquet tables of spans and documents."""

import logging
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from clinnlp.core.run import write_json
from clinnlp.errors import QUARANTINED, DataError
from clinnlp.formats.base import Format, read_records
from clinnlp.formats.jsonl import Jsonl
from clinnlp.recipes._data import data_sha256
from clinnlp.recipes._output import start_run

log = logging.getLogger("clinnlp")


@dataclass(frozen=True)
class Label:
    """Label notes with a trained model into Parquet tables; bad documents are set aside and counted."""

    model: Path
    """Model folder of a finetune run."""
    notes: str
    """The notes: a file, a folder or a quoted glob."""
    out: Path
    """New folder for the labels."""
    format: Format = field(default_factory=Jsonl, metadata={"flat": True})
    """How the notes are stored; its own options are set beside it (--text_field ...)."""
    base: str | None = None
    """Where an adapter's base model lies, if it moved."""
    batch_tokens: int = 4096
    """Tokens per forward pass, padding included; lower it if memory runs out."""
    shard_documents: int = 512
    """Notes per Parquet shard."""
    max_characters: int = 5_000_000
    """Longer notes are set aside."""


def run(settings: Label) -> int:
    """Do the labeling; returns the exit status: 3 if documents were set aside."""
    # 1. check the input before the model is loaded
    run = start_run("label", settings, settings.out, None)
    if next(read_records(settings.notes, settings.format), None) is None:
        raise DataError("no documents", where=settings.notes, next="check the path and the format")

    # 2. the model
    from clinnlp.labeling.engine import label_records
    from clinnlp.models.folder import weights_sha256
    from clinnlp.models.load import load_trained

    trained = load_trained(settings.model, settings.base)
    run.manifest.weights = {"model": weights_sha256(settings.model), "base": trained.card.base_sha256}
    run.manifest.data = {"notes": data_sha256(settings.notes, settings.format)}

    # 3. label
    shown = sys.stderr.isatty()  # only a bar that is seen is worth a pass over the notes for its time left
    total = sum(1 for _ in read_records(settings.notes, settings.format)) if shown else None
    start = time.perf_counter()
    records = read_records(settings.notes, settings.format)
    counts = label_records(
        trained, records, run.folder, settings.batch_tokens, settings.shard_documents, settings.max_characters, total
    )
    seconds = time.perf_counter() - start

    # 4. account for every note
    speed = counts.input / seconds
    facts = counts.as_dict() | {"label_seconds": round(seconds, 2), "notes_per_second": round(speed, 2)}
    write_json(run.folder / "counts.json", facts)
    run.finish(facts)
    log.info(
        "%d notes = %d labeled (%d of them empty) + %d set aside; %d spans; %.1f notes/s",
        counts.input, counts.labeled, counts.empty, counts.quarantined, counts.spans, speed,
    )  # fmt: skip
    for name, count in counts.by_label.most_common(30):
        log.info("  %-24s %d", name, count)
    for reason, count in counts.reasons.most_common(10):
        log.warning("set aside: %d x %s (see quarantine.jsonl)", count, reason)
    log.info("labels: %s", run.folder)
    return QUARANTINED if counts.quarantined else 0
