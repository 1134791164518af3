"""`clinnlp audit canaries`: made-up secrets to train on, so that `audit memorisation` can look for them afterwards."""

import logging
from dataclasses import dataclass
from pathlib import Path

from clinnlp.errors import ConfigError
from clinnlp.formats.base import write
from clinnlp.formats.jsonl import Jsonl
from clinnlp.recipes._output import start_run
from clinnlp.text.canaries import plant

log = logging.getLogger("clinnlp")


@dataclass(frozen=True)
class AuditCanaries:
    """Write notes with made-up secrets, to be added to the notes of a pretraining and audited afterwards."""

    out: Path
    """New folder for canaries.jsonl."""
    each: int = 10
    """Secrets for every number of repeats."""
    repeats: tuple[int, ...] | str = (1, 4, 16)
    """In how many notes a secret stands, with a comma between: 1,4,16."""
    seed: int = 13
    """Seed of the secrets and of the words around them."""

    def __post_init__(self) -> None:
        if isinstance(self.repeats, str):
            times = [word.strip() for word in self.repeats.split(",")]
            if not all(word.isdecimal() for word in times):
                raise ConfigError("should be whole numbers with a comma between", where="repeats", next="give 1,4,16")
            object.__setattr__(self, "repeats", tuple(int(word) for word in times))
        if self.each < 1 or not self.repeats or min(map(int, self.repeats)) < 1:
            raise ConfigError("must be 1 or more", where="each and repeats")
        if len(set(self.repeats)) < len(self.repeats):
            raise ConfigError("the same number twice", where="repeats", next="raise each for more secrets of a kind")


def run(settings: AuditCanaries) -> int:
    """Write the notes; returns the exit status."""
    run = start_run("audit canaries", settings, settings.out, settings.seed)
    run.clear()
    notes = plant(settings.each, [int(times) for times in settings.repeats], settings.seed)
    path = run.folder / "canaries.jsonl"
    write(notes, path, Jsonl())
    run.finish({"secrets": settings.each * len(settings.repeats), "notes": len(notes)})
    log.info("%d secrets in %d notes: %s", settings.each * len(settings.repeats), len(notes), path)
    log.info("add it to the notes of a training (corpora), then: clinnlp audit memorisation MODEL --canaries %s", path)
    return 0
