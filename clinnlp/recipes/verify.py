"""`clinnlp verify`: proof that the labels of a run are whole and that every note is in its account."""

import logging
from dataclasses import dataclass
from typing import ClassVar

from clinnlp.errors import ConfigError, IntegrityError
from clinnlp.labeling.store import LocalStore, open_store
from clinnlp.labeling.verify import remove_leftovers, verify

log = logging.getLogger("clinnlp")

SHOWN = 10


@dataclass(frozen=True)
class Verify:
    """Hash all labels of a run again and reconcile its account of notes; removes nothing by itself."""

    positionals: ClassVar[tuple[str, ...]] = ("out",)

    out: str
    """Folder, or URL of an object store, with a label run, finished or not."""
    gc: bool = False
    """Remove files that no commit names and that no living process is writing."""


def run(settings: Verify) -> int:
    """Do the proof; returns the exit status. Raises IntegrityError for any mismatch."""
    store = open_store(settings.out)
    if settings.gc and not isinstance(store, LocalStore):
        raise ConfigError("what is left over can only be told in a folder", where="gc")
    proof = verify(store)
    for fault in proof.faults[:SHOWN]:
        log.warning("%s", fault)
    if proof.faults:
        raise IntegrityError(
            f"{len(proof.faults)} faults, the first: {proof.faults[0]}",
            where=settings.out,
            kept="everything",
            next="give the command of the run again with --verify_on_resume true: it labels damaged shards once more",
        )
    counts = proof.counts
    log.info(
        "%d of %d shards, %d files: all as committed%s", proof.committed, proof.shards, proof.files,
        "" if proof.done else "; the run is not finished",
    )  # fmt: skip
    log.info(
        "%d notes = %d labeled + %d set aside + %d excluded", counts.input, counts.labeled, counts.quarantined,
        counts.excluded,
    )  # fmt: skip
    if settings.gc and isinstance(store, LocalStore):
        log.info("%d files were left over and are removed", remove_leftovers(store))
    return 0
