"""Tag sequences: which scheme they follow and which entities they mean, as conlleval and seqeval read them."""

import re
from collections.abc import Iterable, Sequence

from clinnlp.formats._bytes import Bad

SCHEMES = ("auto", "IOB1", "IOB2", "IOBES")
TAG = re.compile(r"([BIESLU])-(.+)", re.DOTALL)
SAME = {"L": "E", "U": "S"}  # BILOU is IOBES with other letters

Tag = tuple[str, str]
"""Prefix (O, B, I, E or S) and label ("" for O)."""
OUTSIDE: Tag = ("O", "")


def parse_tag(tag: str) -> Tag:
    """Prefix and label; the label may hold hyphens. Raises Bad for a tag that is neither O nor prefixed."""
    if tag == "O":
        return OUTSIDE
    match = TAG.fullmatch(tag)
    if match is None:
        raise Bad("a tag is neither O nor a label with a prefix such as B- or I-")
    return SAME.get(match[1], match[1]), match[2]


class Survey:
    """Finds the scheme of a file from its tags, one after another; a sentence ends with `OUTSIDE`."""

    def __init__(self) -> None:
        self.single = self.free_b = self.free_i = False
        self.previous = OUTSIDE

    def add(self, tag: Tag) -> None:
        adjacent = self.previous[1] == tag[1]
        self.single |= tag[0] in "ES"
        self.free_b |= tag[0] == "B" and not adjacent  # IOB1 writes B only between two entities of one label
        self.free_i |= tag[0] == "I" and not adjacent
        self.previous = tag

    @property
    def scheme(self) -> str:
        if self.single:
            return "IOBES"
        return "IOB1" if self.free_i and not self.free_b else "IOB2"


def entities(tags: Sequence[Tag]) -> list[tuple[int, int, str]]:
    """The entities of one sentence as (first token, token after the last, label).

    An I or E that continues nothing begins an entity, in every scheme.
    """
    found: list[tuple[int, int, str]] = []
    first: int | None = None
    previous = OUTSIDE
    for n, (prefix, label) in enumerate([*tags, OUTSIDE]):
        continues = prefix in "IE" and previous[0] in "BI" and previous[1] == label
        if first is not None and not continues:
            found.append((first, n, previous[1]))
            first = None
        if prefix != "O" and first is None:
            first = n
        previous = (prefix, label)
    return found


def illegal(tags: Iterable[Tag], scheme: str) -> int:
    """How many tags may not stand where they stand under the scheme."""
    count = 0
    previous = OUTSIDE
    for tag in [*tags, OUTSIDE]:
        inside = previous[0] in "BI" and previous[1] == tag[1]
        if scheme == "IOB1":
            count += tag[0] in "ES" or (tag[0] == "B" and not inside)
        elif scheme == "IOB2":
            count += tag[0] in "ES" or (tag[0] == "I" and not inside)
        else:
            follows = tag[0] in "IE"  # only I and E may, and must, follow B and I
            count += (follows or previous[0] in "BI") and not (follows and inside)
        previous = tag
    return count


def write_tags(length: int, label: str, scheme: str, after_same: bool) -> list[str]:
    """The tags of one entity of `length` tokens; `after_same` if it follows an entity of its label at once."""
    if scheme == "IOB1":
        return [f"{'B' if after_same else 'I'}-{label}"] + [f"I-{label}"] * (length - 1)
    if scheme == "IOBES":
        if length == 1:
            return [f"S-{label}"]
        return [f"B-{label}"] + [f"I-{label}"] * (length - 2) + [f"E-{label}"]
    return [f"B-{label}"] + [f"I-{label}"] * (length - 1)
