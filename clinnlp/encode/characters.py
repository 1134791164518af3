"""Characters of a text in classes, as arrays: whitespace, graphemes and where the units that carry tags begin."""

import re
import unicodedata

import numpy as np
import numpy.typing as npt

SPACE, LETTER, DIGIT, OTHER, EXTEND, FORMAT, JOINER, FLAG, _UNSEEN = range(9)
_CLASSES = np.full(0x110000, _UNSEEN, dtype=np.uint8)  # filled as characters are met
# scripts written without spaces: each character is a unit of its own, or a sentence would be one unit
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff\u3005-\u30ff\u31f0-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)


def unit_starts(text: str) -> npt.NDArray[np.bool_]:
    """Which characters begin a unit."""
    return _starts(*classify(text))


def word_starts(text: str) -> npt.NDArray[np.bool_]:
    """Which characters begin a word: as units, but letters and digits run together."""
    classes, joined = classify(text)
    classes[classes == DIGIT] = LETTER
    return _starts(classes, joined)


def _starts(classes: npt.NDArray[np.uint8], joined: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_]:
    if joined is not None:
        follows = joined | (classes == FORMAT)  # soft hyphens and zero-width spaces do not split a word
        follows[:1] = False
        follows[1:] &= classes[:-1] != SPACE
        bases = np.maximum.accumulate(np.where(follows, 0, np.arange(len(classes))))
        solid = classes.copy()
        solid[classes == EXTEND] = LETTER  # a mark without a base
        classes = np.where(solid > DIGIT, OTHER, solid)[bases]
    begins: npt.NDArray[np.bool_] = classes == OTHER
    begins[1:] |= (classes[1:] != SPACE) & (classes[1:] != classes[:-1])
    begins[:1] = classes[:1] != SPACE
    if joined is not None:
        begins &= ~follows
    return begins


def classify(text: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_] | None]:
    """The class of each character, and whether it belongs to the grapheme before it (None: no character does)."""
    ascii_only = text.isascii()
    codes = np.frombuffer(text.encode("ascii" if ascii_only else "utf-32-le"), np.uint8 if ascii_only else np.uint32)
    classes = _CLASSES[codes]
    if (classes == _UNSEEN).any():
        for code in np.unique(codes[classes == _UNSEEN]):
            _CLASSES[code] = _class(chr(code))
        classes = _CLASSES[codes]
    if ascii_only:
        return classes, None
    joined = (classes == EXTEND) | (classes == JOINER)
    joined[1:] |= (classes[:-1] == JOINER) & (classes[1:] == OTHER)  # emoji families
    flags = np.flatnonzero(classes == FLAG)
    if len(flags):  # every second letter of a run of regional indicators completes a flag
        run = np.cumsum(np.diff(flags, prepend=-2) > 1) - 1
        first = np.flatnonzero(np.diff(run, prepend=-1))
        joined[flags[(np.arange(len(flags)) - first[run]) % 2 == 1]] = True
    joined[:1] = False
    return classes, joined


def _class(char: str) -> int:
    category, code = unicodedata.category(char), ord(char)
    if char.isspace():
        return SPACE
    if char in "\u200c\u200d":
        return JOINER
    if category[0] == "M" or 0x1F3FB <= code <= 0x1F3FF or 0xE0020 <= code <= 0xE007F:  # marks, skin tones, tags
        return EXTEND
    if 0x1F1E6 <= code <= 0x1F1FF:
        return FLAG
    if category == "Cf":
        return FORMAT
    if category[0] == "N":
        return DIGIT
    return LETTER if category[0] == "L" and not _UNSPACED.match(char) else OTHER


def places_in(text: str, unit: str) -> npt.NDArray[np.int64] | None:
    """For each position 0..N of a text, in code points, where it is in UTF-16 units or UTF-8 bytes.

    `unit` is utf16 or bytes; None where every position is what it is in code points.
    """
    if text.isascii():
        return None
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    widths = 1 + (codes > 0xFFFF) + (0 if unit == "utf16" else (codes > 0x7F).astype(np.int64) + (codes > 0x7FF))
    return np.concatenate([[0], np.cumsum(widths)])


def first_from(wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """For each position 0..N the first wanted one at or after it, or N."""
    size = len(wanted)
    found = np.full(size + 1, size, dtype=np.int32)
    found[:-1][wanted] = np.flatnonzero(wanted)
    return np.minimum.accumulate(found[::-1])[::-1]
