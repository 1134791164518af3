"""`clinnlp validate`: proof that the spans in an OMOP database are what stands in its notes."""

import logging
from dataclasses import dataclass, field
from typing import ClassVar

from clinnlp.errors import ConfigError, IntegrityError
from clinnlp.formats.omop import Omop, validate

log = logging.getLogger("clinnlp")

SHOWN = 10


@dataclass(frozen=True)
class Validate:
    """Compare every row of NOTE_NLP, of any system, with the note it names; nothing is changed."""

    positionals: ClassVar[tuple[str, ...]] = ("url",)

    url: str
    """The URL of a database with OMOP tables, or an SQLite file."""
    format: Omop = field(default_factory=Omop, metadata={"flat": True})
    """The names of its tables and schemas (--schema cdm)."""

    def __post_init__(self) -> None:
        if not isinstance(self.format, Omop):
            raise ConfigError("only omop has rows to validate", where="format", next="leave it out")


def run(settings: Validate) -> int:
    """Do the proof; returns the exit status. Raises IntegrityError for any row that fails."""
    counts, failed = validate(settings.url, settings.format)
    log.info(
        "%d rows = %d exact + %d exact as far as their columns hold them + %d wrong + %d without a note",
        counts["rows"], counts["exact"], counts["shortened"], counts["wrong"], counts["without_note"],
    )  # fmt: skip
    for id, reason in failed[:SHOWN]:
        log.warning("note_nlp_id %s: %s", id, reason)
    if wrong := counts["wrong"] + counts["without_note"]:
        raise IntegrityError(
            f"{wrong} of {counts['rows']} rows of {settings.format.nlp_table} are not what stands in their notes",
            kept="everything",
            next="write the labels of these notes again, from the texts that are in the database",
        )
    return 0
