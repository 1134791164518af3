"""Properties of spans and notes that scores are sliced by: label, section, length, position, surface and others."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby
from operator import itemgetter

import numpy as np

from clinnlp.core.document import Document, Span
from clinnlp.errors import UsageError
from clinnlp.evaluation.resample import RESAMPLES, Counts, Units

SMALL = 11  # what fewer spans, notes or patients than this have in common is not shown
QUARTERS = ("shortest quarter", "second quarter", "third quarter", "longest quarter")
POSITIONS = ("first quarter", "second quarter", "third quarter", "tail")
WINDOWS = ("note fits the window", "first window of a longer note", "beyond the first window")
FORMS = ("seen", "unseen")
FREQUENCIES = ("frequent (5 or more)", "rare (1 to 4)", "never (0)")
POLARITIES = ("affirmed", "negated")
WIDTHS = ("1 unit", "2 units", "3 or more units")
GROUP_SIZES = ("1 note", "2 to 4 notes", "5 or more notes", "no group")
OTHER, NONE = "other", "(none)"

_UNIT = re.compile(r"(?:[^\W\d_][\u0300-\u036f]*)+|\d+|\S")  # a run of letters with their marks, of digits, or a sign

Reader = Callable[[str, Sequence[tuple[int, int]]], Sequence[str]]  # a text and (start, end) of spans to their names
_Names = Sequence[str | None]  # the cell of each item; None: in no cell


@dataclass(frozen=True, slots=True, eq=False)
class Dimension:
    """One way to divide items (spans, notes) into cells; an item may be in several cells or in none."""

    name: str
    cells: tuple[str, ...]
    items: Counts  # (M,) places of items
    index: Counts  # (M,) the cell of each


@dataclass(frozen=True, slots=True, eq=False)
class Surfaces:
    """Surface forms of training spans and how often each occurs: hashes only, no text.

    A hash of a short text can be guessed: keep it in memory and write it nowhere.
    """

    counts: Mapping[bytes, int]

    @classmethod
    def of(cls, documents: Iterable[Document]) -> "Surfaces":
        """The surface forms of the spans of documents, with and without their label."""
        counts: Counter[bytes] = Counter()
        for document in documents:
            for span in document.spans:
                counts.update(_hashes(document.text, span))
        return cls(dict(counts))

    def look_up(self, text: str, span: Span) -> tuple[int, int]:
        """How often the form of a span occurs in training under its label, and under any."""
        labelled, plain = _hashes(text, span)
        return self.counts.get(labelled, 0), self.counts.get(plain, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """Spans with their documents, those of a document together; `forms` are the spans whose surface form counts."""

    documents: Sequence[Document]
    rows: Sequence[int]  # the document of each span
    spans: Sequence[Span]
    forms: Sequence[Span]

    def __iter__(self) -> Iterator[tuple[str, Span]]:
        """The text and the span of each."""
        return zip((self.documents[row].text for row in self.rows), self.spans, strict=True)


@dataclass(frozen=True, slots=True)
class Slicing:
    """What to slice by besides what spans and notes show by themselves, and how intervals are drawn.

    Raises UsageError for a window or a number of resamples under 1.
    """

    sections: Reader | None = None  # text.sections.section_names
    negation: Reader | None = None  # text.negation.polarity
    surfaces: Surfaces | None = None  # of the training spans
    note_type: str = "note_type"  # the entry of a note's meta
    window: int | None = None  # characters that the model reads at once, about
    seed: int = 13
    resamples: int = RESAMPLES

    def __post_init__(self) -> None:
        for name, value in (("window", self.window), ("resamples", self.resamples)):
            if value is not None and value < 1:
                raise UsageError(f"{name} = {value} is not a positive number", next="leave it out, or raise it")


def length_cuts(documents: Sequence[Document]) -> tuple[int, int, int]:
    """The characters up to which a note is in the shortest, second and third quarter of notes."""
    lengths = [len(document.text) for document in documents] or [0]
    low, middle, high = np.quantile(lengths, [0.25, 0.5, 0.75], method="lower").tolist()
    return int(low), int(middle), int(high)


def span_dimensions(located: Located, how: Slicing, units: Units) -> list[Dimension]:
    """The ways to divide spans into two or more cells."""
    rows, documents = located.rows, located.documents
    quarter, types = _quarters(documents), _types(documents, how.note_type, units)
    position = [POSITIONS[4 * span.start // len(text)] for text, span in located]
    forms, frequencies = _training(located, how.surfaces)
    return _dimensions(
        {
            "label": ([span.label for span in located.spans], ()),
            "section": (_fold(_read(how.sections, located), units.index[list(rows)].tolist()), ()),
            "note type": ([types[row] for row in rows], ()),
            "length": ([quarter[row] for row in rows], QUARTERS),
            "window": (_windows(located, how.window), WINDOWS),
            "position": (position, POSITIONS),
            # the one crossing: what truncation, decay of attention and copied tails look like
            "position in the longest notes": (
                [name if quarter[row] == QUARTERS[3] else None for row, name in zip(rows, position, strict=True)],
                POSITIONS,
            ),
            "surface form": (forms, FORMS),
            "training count": (frequencies, FREQUENCIES),
            "negation": (_read(how.negation, located), POLARITIES),
            "span length": ([_width(text, span) for text, span in located], WIDTHS),
        }
    )


def note_dimensions(documents: Sequence[Document], how: Slicing, units: Units) -> list[Dimension]:
    """The ways to divide notes into two or more cells; a note is in the cell of each of its labels."""
    owners = [(row, label) for row, document in enumerate(documents) for label in sorted(set(document.labels))]
    labels = _divide("label", [label for _, label in owners], ())
    labels = Dimension(labels.name, labels.cells, np.array([row for row, _ in owners], np.int64), labels.index)
    others = _dimensions(
        {
            "note type": (_types(documents, how.note_type, units), ()),
            "length": (_quarters(documents), QUARTERS),
            "group size": (_group_sizes(documents), GROUP_SIZES),
        }
    )
    return [labels, *others] if len(labels.cells) > 1 else others


def _dimensions(values: Mapping[str, tuple[_Names, tuple[str, ...]]]) -> list[Dimension]:
    made = [_divide(name, names, order) for name, (names, order) in values.items()]
    return [dimension for dimension in made if len(dimension.cells) > 1 or None in values[dimension.name][0]]


def _divide(name: str, names: _Names, order: tuple[str, ...]) -> Dimension:
    """Items by the name of their cell; cells stand in the order given, then sorted."""
    present = {cell for cell in names if cell is not None}
    cells = (*(cell for cell in order if cell in present), *sorted(present - set(order)))
    place: dict[str | None, int] = {None: -1} | {cell: number for number, cell in enumerate(cells)}
    index = np.fromiter((place[cell] for cell in names), np.int64, len(names))
    items = np.flatnonzero(index >= 0)
    return Dimension(name, cells, items, index[items])


def _fold(names: _Names, units: Sequence[int]) -> _Names:
    """Names that fewer than 11 units (patients, else notes) have become one: a rare header may be a person's name."""
    holders = Counter(name for name, _ in set(zip(names, units, strict=True)))
    return [name if name is None or holders[name] >= SMALL else OTHER for name in names]


def _types(documents: Sequence[Document], key: str, units: Units) -> _Names:
    values = [document.meta.get(key) for document in documents]
    if all(value is None for value in values):
        return values
    return _fold([NONE if value is None else str(value) for value in values], units.index.tolist())


def _quarters(documents: Sequence[Document]) -> list[str]:
    lengths = [len(document.text) for document in documents]
    return [QUARTERS[place] for place in np.searchsorted(length_cuts(documents), lengths)]


def _windows(located: Located, window: int | None) -> _Names:
    if window is None:
        return [None] * len(located.spans)
    return [WINDOWS[0 if len(text) <= window else 1 if span.end <= window else 2] for text, span in located]


def _training(located: Located, surfaces: Surfaces | None) -> tuple[_Names, _Names]:
    if surfaces is None:
        return [None] * len(located.spans), [None] * len(located.spans)
    forms = zip(located.rows, located.forms, strict=True)
    found = [surfaces.look_up(located.documents[row].text, span) for row, span in forms]
    seen = [FORMS[0 if labelled else 1] for labelled, _ in found]
    return seen, [FREQUENCIES[0 if count >= 5 else 1 if count else 2] for _, count in found]


def _read(reader: Reader | None, located: Located) -> _Names:
    """The names that a reader gives, each note read once."""
    if reader is None:
        return [None] * len(located.spans)
    names: list[str] = []
    for row, held in groupby(zip(located.rows, located.spans, strict=True), key=itemgetter(0)):
        names += reader(located.documents[row].text, [(span.start, span.end) for _, span in held])
    return names


def _hashes(text: str, span: Span) -> tuple[bytes, bytes]:
    """Hashes of a span's text, in which case and kind of blanks do not count, with its label and without."""
    pieces = span.fragments or ((span.start, span.end),)
    surface = " ".join(" ".join(text[start:end] for start, end in pieces).split()).casefold()
    labelled = blake2b(f"{span.label}\n{surface}".encode(), digest_size=16)
    return labelled.digest(), blake2b(surface.encode(), digest_size=16).digest()


def _width(text: str, span: Span) -> str:
    pieces = span.fragments or ((span.start, span.end),)
    return WIDTHS[min(2, max(0, sum(len(_UNIT.findall(text, *piece)) for piece in pieces) - 1))]


def _group_sizes(documents: Sequence[Document]) -> _Names:
    sizes = Counter(document.group for document in documents)
    if set(sizes) <= {None}:
        return [None] * len(documents)
    names = {size: GROUP_SIZES[0 if size == 1 else 1 if size < 5 else 2] for size in sizes.values()}
    return [GROUP_SIZES[3] if d.group is None else names[sizes[d.group]] for d in documents]
