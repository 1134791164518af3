"""`clinnlp convert`: notes and annotations from one format to another."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from clinnlp.core.document import Document, Quarantined
from clinnlp.errors import QUARANTINED, DataError, InUseError
from clinnlp.formats.base import Format, read_records, write
from clinnlp.formats.jsonl import Jsonl

log = logging.getLogger("clinnlp")


@dataclass(frozen=True)
class Convert:
    """Convert notes and annotations between formats; what the target cannot hold is counted and named."""

    positionals: ClassVar[tuple[str, ...]] = ("src", "dst")

    src: str
    """Notes to read: a file, a folder, a quoted glob or, with --from omop, the URL of a database."""
    dst: str
    """New file or folder to write or, with --to omop, the URL of a database that is there."""
    source: Format = field(default_factory=Jsonl, metadata={"key": "from"})
    """Format of the source, with its options (--from.tag_column 1)."""
    target: Format = field(default_factory=Jsonl, metadata={"key": "to"})
    """Format of the target, with its options."""


def run(settings: Convert) -> int:
    """Do the conversion; returns the exit status: 3 if records were set aside."""
    if settings.target.open(settings.dst) is None:
        dst = Path(settings.dst)
        if dst.exists() and not (dst.is_dir() and not any(dst.iterdir())):
            raise InUseError("the target is there already", where=str(dst), kept="it", next="choose a new DST")
        dst.parent.mkdir(parents=True, exist_ok=True)
    bad: list[Quarantined] = []
    read: Counter[str] = Counter()

    def documents() -> Iterator[Document]:
        for record in read_records(settings.src, settings.source):
            if isinstance(record, Document):
                read.update(documents=1, spans=len(record.spans))
                yield record
            else:
                bad.append(record)
        if bad and not read:  # an empty target would pass for a result, and refuse the next try
            raise DataError(
                f"none of the {len(bad)} records can be read; the first, {bad[0].where}: {bad[0].reason}",
                where=settings.src,
                next="check --from and its options",
            )

    written = write(documents(), settings.dst, settings.target)
    log.info("read %d documents with %d spans; wrote %s", read["documents"], read["spans"], _listed(written))
    for record in bad[:10]:
        log.warning("set aside: %s: %s", record.where, record.reason)
    if bad:
        log.warning("%d records were set aside", len(bad))
    return QUARANTINED if bad else 0


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
