"""Documents divided into train, dev and test so that no patient and no text stands in two of them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

from clinnlp.core.document import Document
from clinnlp.errors import ConfigError, DataError

SHARES: Mapping[str, float] = {"train": 0.8, "dev": 0.1, "test": 0.1}


def split(
    documents: Sequence[Document], shares: Mapping[str, float] = SHARES, seed: int = 0
) -> dict[str, list[Document]]:
    """Documents by split, in their given order; those of one group, or without group of one text, stay together.

    Which split a document falls into depends on the groups and the seed alone: not on the order of the
    documents, nor on their labels. Raises ConfigError for shares that are not positive or do not add up to 1
    and DataError if a split would be empty.
    """
    places = split_places([group_key(document) for document in documents], shares, seed)
    return {name: [documents[place] for place in held] for name, held in places.items()}


def split_places(keys: Sequence[str], shares: Mapping[str, float] = SHARES, seed: int = 0) -> dict[str, list[int]]:
    """As `split`, of documents that are known by the keys of their groups: their places by split, in order."""
    if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise ConfigError("the shares of the splits must be positive and add up to 1")
    sizes = Counter(keys)
    placed: dict[str, str] = {}
    open_places = {name: share * len(keys) for name, share in shares.items()}
    for key in sorted(sizes, key=lambda key: sha256(f"{seed}\n{key}".encode()).digest()):
        name = max(open_places, key=lambda name: open_places[name])
        placed[key] = name
        open_places[name] -= sizes[key]
    made: dict[str, list[int]] = {name: [] for name in shares}
    for place, key in enumerate(keys):
        made[placed[key]].append(place)
    empty = [name for name, held in made.items() if not held]
    if empty:
        raise DataError(
            f"split {empty[0]!r} would be empty: {len(keys)} documents form {len(sizes)} groups",
            next="give more documents, fewer splits or other shares",
        )
    return made


def group_key(document: Document) -> str:
    """What keeps a document together with others: its group, else a hash of its exact text."""
    if document.group is not None:
        return f"group {document.group}"
    return f"text {sha256(document.text.encode()).hexdigest()}"


def duplicate_ids(documents: Iterable[Document]) -> list[str]:
    """The ids that more than one document has, sorted; say how many there are, never which."""
    return sorted(id for id, count in Counter(document.id for document in documents).items() if count > 1)
