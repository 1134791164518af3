"""The settings of a labeling run that the loop itself reads; the recipe adds what is labeled, by what, and where to."""

from dataclasses import dataclass
from typing import Literal

from clinnlp.errors import ConfigError

UNITS = ("utf16", "bytes")  # of offsets, beside code points


@dataclass(frozen=True, kw_only=True)
class Options:
    """How notes are cut into shards, labeled and watched, and what may be done to a run that was begun before."""

    shard_documents: int = 1000
    """Notes per shard, the unit of work that is committed; one with 8 million characters of text is full earlier."""
    max_characters: int = 5_000_000
    """Longer notes are set aside."""
    duplicate_ids: Literal["refuse", "keep"] = "refuse"
    """What to do with note ids that occur twice: refuse the input, or tell notes apart by their `ordinal` alone."""
    batch_tokens: int = 4096
    """Tokens per forward pass, padding included; halved where memory runs out. `torch` on a CPU takes at most 2,048."""
    workers: int = 1
    """Worker processes, each with a model of its own; 0 labels in this process, and a crash of the model ends it."""
    on: Literal["here", "ray"] = "here"
    """Where the workers are: on this machine, or on the Ray cluster that RAY_ADDRESS names (every node sees --out)."""
    document_seconds: float = 120.0
    """A note that the model has not answered in this time is set aside; notes over 50,000 characters have more."""
    max_failures: float = 0.01
    """Stop when more than this share of the notes, and more than 20, were set aside."""
    offsets: tuple[str, ...] | str = ()
    """Other offsets of spans beside code points, in columns of their own: utf16, bytes or utf16,bytes."""
    quarantine_text: bool = False
    """Write ids and texts of notes that are set aside to the quarantine files."""
    extend: bool = False
    """Label notes that were appended to the input of this run."""
    relabel: bool = False
    """Label shards whose notes have changed since this run began once more; the others are kept."""
    retry_quarantined: bool = False
    """Label shards with notes that were set aside once more."""
    verify_on_resume: bool = False
    """Read all labels that were written and compare their hashes; without, only their sizes are looked at."""
    allow_version_change: bool = False
    """Go on with other versions, or another kind of device, than the run began with; both are recorded."""
    join: bool = False
    """Share the work on --out with other processes that were given this."""

    def __post_init__(self) -> None:
        named = self.offsets.split(",") if isinstance(self.offsets, str) else self.offsets
        if unknown := sorted(set(named) - set(UNITS)):
            raise ConfigError(f"{len(unknown)} unknown units", where="offsets", next=f"there are {', '.join(UNITS)}")
        object.__setattr__(self, "offsets", tuple(unit for unit in UNITS if unit in named))
        least_of = {"shard_documents": 1, "max_characters": 1, "batch_tokens": 1, "workers": 0, "document_seconds": 0}
        for name, least in least_of.items():
            if getattr(self, name) < least:
                raise ConfigError(f"must be {least} or more", where=name)
        if not 0 <= self.max_failures <= 1:
            raise ConfigError("is a share of the notes, from 0 to 1", where="max_failures")
