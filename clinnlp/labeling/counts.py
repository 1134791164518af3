"""What became of the records of a shard or of a run; the account must balance."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from clinnlp.errors import IntegrityError

NUMBERS = ("input", "labeled", "empty", "untokenizable", "quarantined", "excluded", "spans", "characters")


@dataclass
class Counts:
    """`input` is always `labeled + quarantined + excluded`.

    Of the labeled, `empty` hold nothing that can be seen, and of `untokenizable` the tokenizer keeps no character.
    """

    input: int = 0
    labeled: int = 0
    empty: int = 0
    untokenizable: int = 0
    quarantined: int = 0
    excluded: int = 0
    spans: int = 0
    characters: int = 0
    by_label: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Counts") -> None:
        """Add what became of other records."""
        for entry in fields(self):
            mine, theirs = getattr(self, entry.name), getattr(other, entry.name)
            setattr(self, entry.name, mine + theirs)

    def check(self, expected: int, where: str) -> None:
        """Raises IntegrityError if a record is missing from the account, or is in it twice."""
        if not expected == self.input == self.labeled + self.quarantined + self.excluded:
            raise IntegrityError(
                f"{expected} notes in, {self.input} counted = {self.labeled} labeled + {self.quarantined} set aside "
                f"+ {self.excluded} excluded",
                where=where,
                next="keep the folder and report this: it is a fault of clinnlp",
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, labels and reasons by frequency."""
        return {
            **{name: getattr(self, name) for name in NUMBERS},
            "by_label": _ranked(self.by_label),
            "quarantine_reasons": _ranked(self.reasons),
        }

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "Counts":
        """Counts from what `as_dict` gave. Raises KeyError, TypeError or ValueError for anything else."""
        numbers = {name: int(values[name]) for name in NUMBERS}
        return cls(**numbers, by_label=Counter(values["by_label"]), reasons=Counter(values["quarantine_reasons"]))


def _ranked(counter: Counter[str]) -> dict[str, int]:
    return dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))
