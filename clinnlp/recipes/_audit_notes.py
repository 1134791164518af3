"""The two sides of an audit of memorisation: notes that were trained on, and notes that surely were not."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from clinnlp.core.document import Document, Quarantined
from clinnlp.core.run import Run
from clinnlp.errors import DataError, LeakError
from clinnlp.formats.base import read_records
from clinnlp.recipes._data import data_sha256
from clinnlp.recipes._leaks import check_trained_on
from clinnlp.text.canaries import secret_of
from clinnlp.text.leaks import find_leaks
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
    """Both sides, without empty, repeated and planted notes; at most `notes` of each.

    Raises LeakError if they share a text or a group, or if held-out notes are known to have been trained on; DataError
    if there are too few.
    """
    parts: dict[str, list[Document]] = {}
    quarantined: list[Quarantined] = []
    counts = {"empty": 0, "repeated": 0, "planted": 0, "quarantined": 0}
    for name, path in (("train", settings.train), ("heldout", settings.heldout)):
        run.manifest.data[name] = data_sha256(path, settings.format)
        distinct: dict[str, Document] = {}
        for record in read_records(path, settings.format):
            if isinstance(record, Quarantined):
                quarantined.append(record)
                continue
            text = record.text
            left_out = "empty" if not text.strip() else "planted" if secret_of(text) else None
            left_out = left_out or ("repeated" if text in distinct else None)
            if left_out:
                counts[left_out] += 1
            else:
                distinct[text] = record
        parts[name] = list(distinct.values())
        if len(distinct) < MIN_NOTES:
            raise DataError(
                f"{len(distinct)} distinct notes with text, and at least {MIN_NOTES} are needed",
                where=name,
                next="give more notes; from 100 held-out ones on a rate of 1 % can be seen",
            )
    counts["quarantined"] = len(quarantined)
    _check(settings.model, parts)
    drawn = {name: _drawn(held, settings.notes, settings.seed) for name, held in parts.items()}
    sizes = {name: len(held) for name, held in drawn.items()}
    sizes |= {f"not_drawn_{name}": len(parts[name]) - size for name, size in sizes.items()}
    return Sides(drawn["train"], drawn["heldout"], sizes | counts, quarantined)


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


def _drawn(documents: Sequence[Document], most: int, seed: int) -> list[Document]:
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
