"""The guard against leaks: refuse notes that would be scored and trained on, unless that is waived by name."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from clinnlp.core.document import Document
from clinnlp.core.run import Run, write_json
from clinnlp.errors import LeakError
from clinnlp.text.folds import Fold
from clinnlp.text.leaks import LONG, Leak, find_leaks, long_text_hashes, notes_among

log = logging.getLogger("clinnlp")

WAIVERS = ("duplicates", "groups", "pretraining", "transductive")  # the names that data.allow takes
SEEN = "trained_texts.json"  # in the run folder, never in the model folder: see docs/audit.md


def check_leaks(parts: Mapping[str, Sequence[Document]], allow: Sequence[str]) -> list[str]:
    """What `allow` waives, in sentences, of the groups and texts that two splits share.

    Raises LeakError for a leak that is not waived; shorter equal texts are warned about.
    """
    waived = []
    for leak in find_leaks(parts):
        if leak.kind == "short texts":
            log.warning("%s", sentence(leak))
        elif _waiver(leak) in allow:
            waived.append(f"{_waiver(leak)}: {sentence(leak)}")
        else:
            way = (
                f"split by group (finetune does, with --data.{leak.second}_share)"
                if leak.kind == "groups"
                else "remove the copies (`clinnlp audit` counts them)"
            )
            raise LeakError(sentence(leak), where=f"data.{leak.second}", next=_or_waive(way, _waiver(leak)))
    return waived


def check_fold_leaks(made: Sequence[Fold], labeled: Sequence[Document], allow: Sequence[str]) -> dict[str, list[str]]:
    """As `check_leaks`, for folds, all of which train on `labeled` too: what is waived in each, by its name.

    The notes of one patient are never on both sides of a fold, but copies of a text under two patients may be.
    One error or warning tells of all folds.
    """
    leaks = {fold.name: find_leaks({"train": [*fold.train, *labeled], "test": fold.test}) for fold in made}
    total: dict[str, Leak] = {}
    for leak in (leak for held in leaks.values() for leak in held):
        before = total.get(leak.kind, replace(leak, count=0, notes=0))
        total[leak.kind] = replace(leak, count=before.count + leak.count, notes=before.notes + leak.notes)
    for leak in total.values():
        told = f"{sentence(leak)}, over {len(made)} folds"
        if leak.kind == "short texts":
            log.warning("%s", told)
        elif _waiver(leak) not in allow:
            where, way = "data.train", "give all copies of a text one group"
            if leak.kind != "duplicates":  # folds keep patients and notes apart: they are labeled target notes
                where, way = "data.target_labeled", "remove them there"
            raise LeakError(told, where=where, next=_or_waive(way, _waiver(leak)))
    return {
        name: [f"{_waiver(leak)}: {sentence(leak)}" for leak in held if leak.kind != "short texts"]
        for name, held in leaks.items()
    }


def check_target(
    target: Sequence[Document], test: Sequence[Document], allow: Sequence[str], name: str = "target"
) -> list[str]:
    """As `check_leaks`, for unlabeled notes, those of data.NAME, that a model adapts to or is trained on.

    The test notes must not be among them.

    Raises LeakError, which the waiver `transductive` lifts.
    """
    waived = []
    others = "other notes of the target" if name == "target" else "other notes"
    for leak in find_leaks({name: target, "test": test}):
        if leak.kind == "short texts":
            log.warning("%s", sentence(leak))
        elif "transductive" in allow:
            waived.append(f"transductive: {sentence(leak)}")
        else:
            raise LeakError(
                f"{sentence(leak)}: the model would adapt to what it is scored on",
                where=f"data.{name}",
                next=f"give {others}, or --data.allow transductive: the report then says so on top",
            )
    return waived


def sentence(leak: Leak) -> str:
    """A leak in words, with its count: of groups, or of notes of the second split."""
    if leak.kind == "groups":
        return f"groups (patients) in both {leak.first} and {leak.second}: {leak.count:,}"
    if leak.kind == "same notes":
        return f"notes of {leak.second} that are notes of {leak.first}, id and text: {leak.notes:,}"
    size = f"under {LONG} characters" if leak.kind == "short texts" else f"{LONG} or more characters"
    return f"notes of {leak.second} with a text of {size} that {leak.first} holds too: {leak.notes:,}"


def check_trained_on(model: Path, gold: Sequence[Document], allow: Sequence[str]) -> list[str]:
    """As `check_leaks`, for notes that a model of a clinnlp run, or what it was made from, was trained on.

    Nothing if that is not known.
    """
    waived = []
    for what, salt, hashes in _held(model):
        notes = notes_among(gold, hashes, salt)
        if not notes:
            continue
        kind, verb = ("pretraining", "pretrained on") if what == "pretraining" else ("duplicates", "trained on")
        told = f"notes with a text of {LONG} or more characters that the model was {verb}: {notes:,} of {len(gold):,}"
        if kind not in allow:
            raise LeakError(
                told,
                where="data.test",
                next=f"score other notes, or --data.allow {kind}: the report then says so on top",
            )
        waived.append(f"{kind}: {told}")
    return waived


def remember_trained_on(
    run: Run, texts: Iterable[str], what: str, base: str | None = None, unlabeled: Iterable[str] = ()
) -> None:
    """Store salted hashes of the long texts of a training, and those stored for its base, for `check_trained_on`.

    `what` is pretraining or training; `unlabeled` texts count as pretraining.
    """
    salt = run.manifest.data.get("train", run.manifest.fingerprint)
    before = [{"what": kind, "salt": key, "hashes": held} for kind, key, held in _held(Path(base))] if base else []
    if hashes := long_text_hashes(unlabeled, salt):
        before.append({"what": "pretraining", "salt": salt, "hashes": hashes})
    held = {"what": what, "salt": salt, "hashes": long_text_hashes(texts, salt), "before": before}
    write_json(run.folder / SEEN, {"format_version": 1, **held})


def _held(model: Path) -> list[tuple[str, str, list[str]]]:
    """What is stored beside a model folder of the texts it was trained on, and of those before them."""
    path = model.parent / SEEN
    if not path.is_file():
        return []
    held = json.loads(path.read_text(encoding="utf-8"))
    sets = [held, *held.get("before", ())]
    return [(one.get("what", "training"), one["salt"], one["hashes"]) for one in sets]


def _waiver(leak: Leak) -> str:
    """The name in data.allow that waives a leak."""
    return "duplicates" if leak.kind == "same notes" else leak.kind


def _or_waive(way: str, waiver: str) -> str:
    return f"{way}, or --data.allow {waiver}: the report then says so on top"
