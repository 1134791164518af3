"""The guard against leaks: refuse notes that would be scored and trained on, unless that is waived by name."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from clinnlp.core.document import Document
from clinnlp.core.run import Run, write_json
from clinnlp.errors import LeakError
from clinnlp.text.leaks import LONG, Leak, find_leaks, long_text_hashes, notes_among

log = logging.getLogger("clinnlp")

WAIVERS = ("duplicates", "groups")  # the names that data.allow takes
SEEN = "trained_texts.json"  # in the run folder, never in the model folder: see docs/audit.md


def check_leaks(parts: Mapping[str, Sequence[Document]], allow: Sequence[str]) -> list[str]:
    """What `allow` waives, in sentences, of the groups and long texts that two splits share.

    Raises LeakError for a leak that is not waived; shorter equal texts are warned about.
    """
    waived = []
    for leak in find_leaks(parts):
        if leak.kind == "short texts":
            log.warning("%s", sentence(leak))
        elif leak.kind in allow:
            waived.append(f"{leak.kind}: {sentence(leak)}")
        else:
            raise LeakError(sentence(leak), where=f"data.{leak.second}", next=_remedy(leak))
    return waived


def sentence(leak: Leak) -> str:
    """A leak in words, with its count: of groups, or of notes of the second split."""
    if leak.kind == "groups":
        return f"groups (patients) in both {leak.first} and {leak.second}: {leak.count:,}"
    size = f"under {LONG} characters" if leak.kind == "short texts" else f"{LONG} or more characters"
    return f"notes of {leak.second} with a text of {size} that {leak.first} holds too: {leak.notes:,}"


def check_trained_on(model: Path, gold: Sequence[Document], allow: Sequence[str]) -> list[str]:
    """As `check_leaks`, for notes that the model of a finetune run was trained on; nothing if that is not known."""
    path = model.parent / SEEN
    if not path.is_file():
        return []
    held = json.loads(path.read_text(encoding="utf-8"))
    notes = notes_among(gold, held["hashes"], held["salt"])
    told = f"notes with a text of {LONG} or more characters that the model was trained on: {notes:,} of {len(gold):,}"
    if notes and "duplicates" not in allow:
        raise LeakError(
            told,
            where="data.test",
            next="score other notes, or --data.allow duplicates: the report then says so on top",
        )
    return [f"duplicates: {told}"] if notes else []


def remember_trained_on(run: Run, documents: Sequence[Document]) -> None:
    """Store salted hashes of the long texts that train and choose the model, for `check_trained_on`."""
    salt = run.manifest.data.get("train", run.manifest.fingerprint)
    write_json(run.folder / SEEN, {"format_version": 1, "salt": salt, "hashes": long_text_hashes(documents, salt)})


def _remedy(leak: Leak) -> str:
    if leak.kind == "groups":
        way = f"split by group (finetune does, with --data.{leak.second}_share)"
    else:
        way = "remove the copies (`clinnlp audit` counts them)"
    return f"{way}, or --data.allow {leak.kind}: the report then says so on top"
