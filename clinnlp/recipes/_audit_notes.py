"""The two sides of an audit of memorisation: notes that were trained on, and notes that surely were not."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from clinnlp.core.document import Document, Quarantined
from clinnlp.core.run import Run
from clinnlp.errors import DataError, LeakError
from clinnlp.formats.base import Format, read_records
from clinnlp.recipes._data import data_sha256
from clinnlp.recipes._leaks import SEEN, check_trained_on
from clinnlp.text.canaries import secret_of
from clinnlp.text.leaks import find_leaks, long_text_hashes
from clinnlp.text.splits import group_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clinnlp.recipes.audit_memorisation import AuditMemorisation

MIN_NOTES = 10  # of each side


@dataclass(frozen=True)
class Sides:
    """Distinct notes of both sides, the trained ones first, and what was left out."""

    train: list[Document]
    heldout: list[Document]
    counts: dict[str, int]
    quarantined: list[Quarantined]

    @property
    def documents(self) -> list[Document]:
        return [*self.train, *self.heldout]

    @property
    def member(self) -> "NDArray[np.bool_]":
        """Which of the documents were trained on, (N,)."""
        import numpy as np

        return np.arange(len(self.train) + len(self.heldout)) < len(self.train)


def read_sides(settings: "AuditMemorisation", run: Run) -> Sides:
    """Both sides, without notes that are empty, repeated, planted or known as not trained on; at most `notes` of each.

    Raises LeakError if they share a text or a group, or if held-out notes are known to have been trained on; DataError
    if there are too few.
    """
    counts = dict.fromkeys(("empty", "repeated", "planted", "not_trained_on", "quarantined"), 0)
    quarantined: list[Quarantined] = []
    parts: dict[str, list[Document]] = {}
    for name, path in (("train", settings.train), ("heldout", settings.heldout)):
        run.manifest.data[name] = data_sha256(path, settings.format)
        parts[name] = _distinct(path, settings.format, counts, quarantined)
    _check(settings.model, parts)
    trained = _trained_on(Path(settings.model), parts["train"])
    counts |= {"not_trained_on": len(parts["train"]) - len(trained), "quarantined": len(quarantined)}
    parts["train"] = trained
    for name, held in parts.items():
        if len(held) < MIN_NOTES:
            known = " that the model was trained on" if name == "train" and counts["not_trained_on"] else ""
            raise DataError(
                f"{len(held)} distinct notes with text{known}, and at least {MIN_NOTES} are needed",
                where=name,
                next="give more notes; from 100 held-out ones on a rate of 1 % can be seen",
            )
    chosen = {name: drawn(held, settings.notes, settings.seed) for name, held in parts.items()}
    sizes = {name: len(held) for name, held in chosen.items()}
    sizes |= {f"not_drawn_{name}": len(parts[name]) - size for name, size in sizes.items()}
    return Sides(chosen["train"], chosen["heldout"], sizes | counts, quarantined)


def _distinct(path: str, format: Format, counts: dict[str, int], quarantined: list[Quarantined]) -> list[Document]:
    """The notes of distinct texts; what is left out is counted."""
    distinct: dict[str, Document] = {}
    for record in read_records(path, format):
        if isinstance(record, Quarantined):
            quarantined.append(record)
        elif not record.text.strip():
            counts["empty"] += 1
        elif secret_of(record.text):
            counts["planted"] += 1
        elif record.text in distinct:
            counts["repeated"] += 1
        else:
            distinct[record.text] = record
    return list(distinct.values())


def _trained_on(model: Path, notes: Sequence[Document]) -> list[Document]:
    """Notes without those that the run of the model held out, as far as its hashes of long texts tell."""
    path = model.parent / SEEN
    if not path.is_file():
        return list(notes)
    held = json.loads(path.read_text(encoding="utf-8"))
    sets = [(one["salt"], set(one["hashes"])) for one in (held, *held.get("before", ()))]

    def known(text: str) -> bool:
        hashes = [(long_text_hashes([text], salt), seen) for salt, seen in sets]
        return any(not own or own[0] in seen for own, seen in hashes)  # a short text has no hash

    return [note for note in notes if known(note.text)]


def _check(model: str, parts: dict[str, list[Document]]) -> None:
    """Raises LeakError if a held-out note may have been trained on, by its text or its patient."""
    leaks = find_leaks(parts)
    if texts := sum(leak.notes for leak in leaks if leak.kind in ("duplicates", "short texts")):
        raise LeakError(
            f"notes with a text that train holds too: {texts:,} of {len(parts['heldout']):,}",
            where="heldout",
            next="remove them: they were trained on",
        )
    if shared := [leak for leak in leaks if leak.kind == "groups"]:
        raise LeakError(
            f"groups (patients) in both train and heldout: {shared[0].count:,}",
            where="heldout",
            next="split by group, or give --group_field a name that no note has: patients are then not looked at",
        )
    try:
        check_trained_on(Path(model), parts["heldout"], ())
    except LeakError as error:
        raise LeakError(error.what, where="heldout", next="give notes that it was not trained on") from None


def drawn(documents: Sequence[Document], most: int, seed: int) -> list[Document]:
    """At most so many documents, group after group in an order that only the seed decides."""
    if len(documents) <= most:
        return list(documents)
    groups: dict[str, list[int]] = {}
    for number, document in enumerate(documents):
        groups.setdefault(group_key(document), []).append(number)
    chosen: list[int] = []
    for key in sorted(groups, key=lambda key: sha256(f"{seed} {key}".encode()).digest()):
        chosen += groups[key][: most - len(chosen)]
    return [documents[number] for number in sorted(chosen)]
