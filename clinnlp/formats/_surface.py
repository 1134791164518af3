"""What an annotation says its text is, held against what stands at its offsets; names that are safe in a line."""

import re
from collections.abc import Sequence
from urllib.parse import quote, unquote

UNSAFE = re.compile(r"[\s%|\x00-\x1f\x7f]")
HINT = "set mismatches to 'count' to keep the offsets as they are"


def surface_of(text: str, pieces: Sequence[tuple[int, int]]) -> str:
    """The pieces of a span joined by a blank, on one line."""
    return re.sub(r"[\n\r\t]", " ", " ".join(text[start:end] for start, end in pieces))


def agrees(text: str, pieces: Sequence[tuple[int, int]], surface: str) -> bool:
    """Whether a surface is what stands at the offsets; kind and number of blanks do not count."""
    held = " ".join(text[start:end] for start, end in pieces)
    return held == surface or held.split() == surface.split()


def mismatch(text: str, pieces: Sequence[tuple[int, int]], surface: str) -> str:
    """Why a surface is not what stands at its offsets: another unit of offsets where one explains it."""
    told = f"the surface is not what stands at the offsets: check the line ends of the text, or {HINT}"
    return other_unit(text, pieces, surface) or told


def other_unit(text: str, pieces: Sequence[tuple[int, int]], surface: str) -> str:
    """That the offsets count bytes or UTF-16 units, where a surface stands at its offsets then; else nothing."""
    for unit, encoding, width in (("UTF-8 bytes", "utf-8", 1), ("UTF-16 units", "utf-16-le", 2)):
        raw = text.encode(encoding)
        if len(raw) == len(text) * width or max(b for _, b in pieces) * width > len(raw):
            continue  # the unit is characters, or the offsets lie outside in this one too
        held = " ".join(raw[a * width : b * width].decode(encoding, "replace") for a, b in pieces)
        if surface.strip() and held.split() == surface.split():
            return f"the offsets count {unit}: convert them to characters"
    return ""


def safe(name: str) -> str:
    """A name without blanks, control characters, | and %: those are percent-encoded."""
    return UNSAFE.sub(lambda match: quote(match[0], safe=""), name)


def unsafe(name: str) -> str:
    """The name that `safe` made this of, or the name itself if it was never made by it."""
    plain = unquote(name, errors="replace")
    return plain if "%" in name and safe(plain) == name else name
