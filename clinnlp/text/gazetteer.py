"""Lists of surfaces looked for in text: whole words, in small or capital letters, longest first."""

import re
from collections.abc import Iterable
from pathlib import Path

from clinnlp.errors import ConfigError, DataError, StorageError

_PIECE = re.compile(r"\w+|[^\w\s]")


class Gazetteer:
    """Surfaces by their words; what stands between the words does not matter, blanks or line ends."""

    def __init__(self, surfaces: Iterable[str]) -> None:
        self.surfaces = {words for surface in surfaces if (words := tuple(_PIECE.findall(surface.casefold())))}
        sizes: dict[str, set[int]] = {}
        for words in self.surfaces:
            sizes.setdefault(words[0], set()).add(len(words))
        self._sizes = {word: sorted(found, reverse=True) for word, found in sizes.items()}

    @classmethod
    def read(cls, path: Path) -> "Gazetteer":
        """One surface a line, in UTF-8. Raises StorageError, DataError or ConfigError for a file that holds none."""
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise StorageError(f"cannot read: {error.strerror}", where=path.name, next="check the path") from None
        try:
            lines = raw.decode("utf-8-sig").split("\n")
        except UnicodeDecodeError as error:
            number = raw.count(b"\n", 0, error.start) + 1
            raise DataError(f"line {number} is not UTF-8", where=path.name, next="convert it to UTF-8") from None
        found = cls(lines)
        if not found.surfaces:
            raise ConfigError("holds no surface", where=path.name, next="write one a line")
        return found

    def find(self, text: str) -> list[tuple[int, int]]:
        """Where surfaces stand in a text: half-open stretches of characters in order, none over another."""
        pieces = [(piece.group().casefold(), *piece.span()) for piece in _PIECE.finditer(text)]
        found: list[tuple[int, int]] = []
        at = 0
        while at < len(pieces):
            for size in self._sizes.get(pieces[at][0], ()):
                if tuple(piece[0] for piece in pieces[at : at + size]) in self.surfaces:
                    found.append((pieces[at][1], pieces[at + size - 1][2]))
                    at += size - 1
                    break
            at += 1
        return found
