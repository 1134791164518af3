"""The label schema: which labels a model knows, in which order, and which tag may follow which."""

from collections.abc import Iterable
from dataclasses import dataclass

from clinnlp.errors import DataError

OUTSIDE = "O"


@dataclass(frozen=True, slots=True)
class LabelSchema:
    """An ordered set of labels; the order is part of the model. Raises DataError for a bad label name."""

    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels):
            raise DataError("label names are not unique")
        for label in self.labels:
            if not label or label != label.strip() or any(ord(c) < 32 for c in label) or len(label) > 200:
                raise DataError(f"label name {label[:40]!r} is empty, padded, too long or holds control characters")

    @classmethod
    def of(cls, labels: Iterable[str]) -> "LabelSchema":
        """The schema of all given labels, sorted by name."""
        return cls(tuple(sorted(set(labels))))

    @property
    def tags(self) -> tuple[str, ...]:
        """The BIO tags, `O` first: tag 2i+1 begins label i, tag 2i+2 continues it."""
        return (OUTSIDE, *(f"{prefix}-{label}" for label in self.labels for prefix in "BI"))

    @property
    def tag_count(self) -> int:
        return 2 * len(self.labels) + 1

    def index(self, label: str) -> int:
        """The position of a label. Raises DataError naming the labels that exist."""
        try:
            return self.labels.index(label)
        except ValueError:
            raise DataError(
                f"label {label!r} is unknown; the labels are {', '.join(self.labels) or '(none)'}",
                next="train on data that holds this label, or rename it",
            ) from None

    def may_follow(self, tag: int, previous: int | None) -> bool:
        """Whether a BIO tag may stand after another, or at the start (previous None): I needs its own B or I."""
        inside = tag > 0 and tag % 2 == 0
        return not inside or (previous is not None and previous in (tag, tag - 1))
