"""Folds for cross-validation: every document is tested once, and no patient stands on both sides."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from clinnlp.core.document import Document
from clinnlp.errors import ConfigError, DataError
from clinnlp.text.splits import group_key


@dataclass(frozen=True)
class Folds:
    """How documents are divided into train and test, again and again."""

    by: Literal["stratified", "leave_one_out", "hold_out"] = "stratified"
    """stratified: folds of like label counts; leave_one_out: one fold per site (or per group); hold_out: the latest
    groups are tested, once."""
    count: int = 5
    """Number of stratified folds."""
    key: str | None = None
    """Entry of a note's meta that names its site (leave_one_out; null takes the group) or its time (hold_out)."""
    test_share: float = 0.2
    """Share of the documents that hold_out tests, about."""
    seed: int = 13
    """Seed of the stratified folds."""

    def __post_init__(self) -> None:
        if self.count < 2:
            raise ConfigError("must be 2 or more", where="folds.count")
        if not 0 < self.test_share < 1:
            raise ConfigError("must be a share between 0 and 1", where="folds.test_share")
        if not 0 <= self.seed < 2**32:
            raise ConfigError("must be from 0 to 4294967295", where="folds.seed")
        if self.by == "hold_out" and self.key is None:
            raise ConfigError("hold_out needs the entry of meta that holds the time", where="folds.key")


@dataclass(frozen=True, slots=True)
class Fold:
    """One division: `train` and `test` share no group, and without groups no text."""

    name: str
    train: tuple[Document, ...]
    test: tuple[Document, ...]


def folds(documents: Sequence[Document], how: Folds) -> list[Fold]:
    """Divide documents; each is tested once (hold_out: at most once).

    Raises DataError where there are fewer groups than folds, or a note lacks the entry of meta that is asked for.
    """
    keys = [group_key(document) for document in documents]
    if how.by == "hold_out":
        return [_latest(documents, keys, how)]
    if how.by == "leave_one_out":
        sites = keys if how.key is None else [str(value) for value in _entries(documents, how.key)]
        placed = _one_each(keys, sites, how.key or "group")
    else:
        placed = _stratified(documents, keys, how)
    made = []
    width = len(str(int(placed.max(initial=0)) + 1))
    for number in range(int(placed.max(initial=-1)) + 1):
        inside = placed == number
        train = tuple(d for d, tested in zip(documents, inside, strict=True) if not tested)
        test = tuple(d for d, tested in zip(documents, inside, strict=True) if tested)
        made.append(Fold(f"fold-{number + 1:0{width}d}", train, test))
    return made


def _stratified(documents: Sequence[Document], keys: Sequence[str], how: Folds) -> npt.NDArray[np.int64]:
    """The fold of each document: group after group goes where its labels are wanted most."""
    names, index = np.unique(np.array(keys, dtype=object).astype(str), return_inverse=True)
    if len(names) < how.count:
        raise DataError(
            f"{len(documents)} documents form {len(names)} groups, fewer than {how.count} folds",
            next="lower folds.count, or give more documents",
        )
    counts = _label_counts(documents)
    by_group = np.zeros((len(names), counts.shape[1]))
    np.add.at(by_group, index, counts)
    share = by_group / by_group.sum(axis=0)  # of each label's total; every column has some
    order = np.random.Generator(np.random.Philox(how.seed)).permutation(len(names))
    order = order[np.argsort(-share[order].max(axis=1), kind="stable")]  # large and rare first: they fit worst later
    held = np.zeros((how.count, share.shape[1]))
    placed = np.zeros(len(names), np.int64)
    for rank, group in enumerate(order):
        left = len(order) - rank
        after = held @ share[group]  # how much of what this group holds is there already
        if left <= (held[:, 0] == 0).sum():  # as many groups as empty folds are left
            after[held[:, 0] > 0] = np.inf
        placed[group] = int(after.argmin())
        held[placed[group]] += share[group]
    return np.asarray(placed[index], np.int64)


def _label_counts(documents: Sequence[Document]) -> npt.NDArray[np.int64]:
    """(documents, 1 + labels): one for the document itself, then how often each label occurs in it."""
    labels: dict[str, int] = {}
    for document in documents:
        for label in (*document.labels, *(span.label for span in document.spans)):
            labels.setdefault(label, len(labels))
    counts = np.zeros((len(documents), 1 + len(labels)), np.int64)
    counts[:, 0] = 1
    for row, document in enumerate(documents):
        for label in (*document.labels, *(span.label for span in document.spans)):
            counts[row, 1 + labels[label]] += 1
    return counts


def _one_each(keys: Sequence[str], sites: Sequence[str], key: str) -> npt.NDArray[np.int64]:
    """The number of each document's site; a group may not lie in two sites."""
    site_of: dict[str, str] = {}
    torn = {group for group, site in zip(keys, sites, strict=True) if site_of.setdefault(group, site) != site}
    if torn:
        raise DataError(
            f"{len(torn)} groups (patients) have notes in several values of {key!r}",
            where="folds.key",
            next="leave out one group at a time (no folds.key), or use stratified folds",
        )
    names, index = np.unique(np.array(sites, dtype=object).astype(str), return_inverse=True)
    if len(names) < 2:
        raise DataError(f"all notes are of one {key}", where="folds.key", next="use stratified folds")
    return np.asarray(index, np.int64)


def _latest(documents: Sequence[Document], keys: Sequence[str], how: Folds) -> Fold:
    """The groups whose last note is latest are tested; train keeps those whose notes are all before them.

    Groups with notes on both sides of the border are tested, so that nothing in train is later than the border.
    """
    times = _entries(documents, str(how.key))
    try:
        order = sorted(range(len(documents)), key=lambda row: times[row])
    except TypeError:
        raise DataError("times are of several kinds and cannot be ordered", where="folds.key") from None
    wanted = max(1, round(how.test_share * len(documents)))
    border = times[order[-wanted]]
    late = {keys[row] for row in order if times[row] >= border}
    train = tuple(d for d, key in zip(documents, keys, strict=True) if key not in late)
    test = tuple(d for d, key in zip(documents, keys, strict=True) if key in late)
    if not train:
        raise DataError(
            "no group lies wholly before the latest notes",
            where="folds.test_share",
            next="lower it, or use stratified folds",
        )
    return Fold("latest", train, test)


def _entries(documents: Sequence[Document], key: str) -> list[Any]:
    missing = sum(document.meta.get(key) is None for document in documents)
    if missing:
        raise DataError(f"{missing} of {len(documents)} notes have no {key!r} in their meta", where="folds.key")
    return [document.meta[key] for document in documents]
