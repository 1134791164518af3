"""What a model and its test notes have been through: bases it comes from, and how often the notes were scored."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clinnlp.core.document import Document
from clinnlp.core.run import MANIFEST, Run

log = logging.getLogger("clinnlp")

OPENED = "test_openings.jsonl"  # in the run folder of a model: one line for each later scoring
_LONGEST = 10  # bases that are followed back


def base_names(base: str) -> Iterator[str]:
    """The name of a base, what its config calls itself, and the names of what it was adapted from."""
    current: str | None = base
    for _ in range(_LONGEST):
        if not current:
            return
        path = Path(current)
        yield current if not path.is_dir() else path.resolve().name
        config = read_object(path / "config.json")
        if name := config.get("_name_or_path"):
            yield str(name)
        settings = read_object(path.parent / MANIFEST).get("settings", {}) if path.is_dir() else {}
        current = settings.get("base")


def base_notices(base: str, gold: Sequence[Document]) -> list[str]:
    """What is known of the notes that the base, or what it was adapted from, has read."""
    from clinnlp.text.known_bases import known_base, overlap_notice

    known = known_base(base_names(base))
    return [overlap_notice(known, gold)] if known is not None else []


def opening_notices(model: Path, sha256: str) -> list[str]:
    """How often these notes were scored before with the model of a run: the run itself, and later evaluations."""
    made = read_object(model.parent / MANIFEST)
    verbs = [str(made["verb"])] if made.get("data_sha256", {}).get("test") == sha256 else []
    path = model.parent / OPENED
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    verbs += [str(line["verb"]) for line in map(json.loads, lines) if line["sha256"] == sha256]
    if not verbs:
        return []
    told = ", ".join(f"{verbs.count(verb)} by {verb}" for verb in dict.fromkeys(verbs))
    return [
        f"opening {len(verbs) + 1} of these notes with this model (before: {told}): what was chosen after looking at "
        "their scores makes them too good"
    ]


def record_opening(model: Path, run: Run, sha256: str) -> None:
    """Note beside the model that these notes were scored; nothing where the model lies in no run."""
    if not (model.parent / MANIFEST).is_file():
        return
    line = json.dumps({"sha256": sha256, "verb": run.manifest.verb, "fingerprint": run.manifest.fingerprint}) + "\n"
    try:
        with os.fdopen(os.open(model.parent / OPENED, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as file:
            file.write(line)
    except OSError as error:
        log.warning("cannot note beside the model that these notes were scored: %s", error.strerror)


def read_object(path: Path) -> dict[str, Any]:
    """The values of a JSON file; nothing where there is none."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
