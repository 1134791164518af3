"""Run records: what a labeling run is of, created once and never changed; what is done later to it makes the next."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from clinnlp.core.run import MANIFEST
from clinnlp.errors import ChangedError, IntegrityError
from clinnlp.labeling.plan import Plan
from clinnlp.labeling.store import Store
from clinnlp.version import VERSION

FORMAT = 1
PINNED = "engine.json"  # the engine that `--engine auto` chose, from before there is a record


@dataclass(frozen=True)
class RunRecord:
    """What `run.json` says; extending or relabeling makes `run.g2.json` and so on, each naming the hash before it.

    `fingerprint` is what changes results, by name; `files` are the names and hashes of the input files, in order.
    """

    generation: int
    reason: str
    fingerprint: Mapping[str, str]
    files: tuple[tuple[str, str], ...]
    plan: Plan
    before: str | None = None

    @property
    def name(self) -> str:
        """Where it is stored."""
        return f"run.g{self.generation}.json" if self.generation > 1 else "run.json"

    def encode(self) -> bytes:
        """Its record."""
        values = {"format_version": FORMAT, "clinnlp": VERSION, **asdict(self)}
        return json.dumps(values, indent=1).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes, where: str) -> "RunRecord":
        """A run from its record. Raises ChangedError for one of a later format, IntegrityError for a torn one."""
        try:
            values: dict[str, Any] = json.loads(data)
            if values["format_version"] > FORMAT:
                raise ChangedError(
                    f"the run was made by clinnlp {values['clinnlp']}, with format {values['format_version']}; "
                    f"this is clinnlp {VERSION}, which knows format {FORMAT}",
                    where=where,
                    kept="everything in it",
                    next="go on with the newer clinnlp",
                )
            known = {name: values[name] for name in cls.__dataclass_fields__}
            known["plan"] = Plan(**values["plan"])
            known["files"] = tuple((name, sha256) for name, sha256 in values["files"])
            return cls(**known)
        except (KeyError, TypeError, ValueError):
            raise IntegrityError(
                "no valid run record", where=where, kept="everything in it", next="choose a new --out"
            ) from None


def last_record(store: Store) -> RunRecord | None:
    """The run as it stands, or None if nothing was begun."""
    last, generation = None, 1
    while (data := store.get(f"run.g{generation}.json" if generation > 1 else "run.json")) is not None:
        last = RunRecord.parse(data, store.place)
        generation += 1
    return last


def is_done(store: Store) -> bool:
    """Whether the run has its closing account: the manifest, written last, says so."""
    try:
        return bool(json.loads(store.get(MANIFEST) or b"{}").get("status") == "done")
    except ValueError:
        return False
