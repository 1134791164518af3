"""Span scorers that count characters, tokens, or the chunks that seqeval and conlleval read from tags."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from clinnlp.core.report import LabelScores, Score
from clinnlp.core.scorers import CountScores, Scorer
from clinnlp.errors import DataError, IntegrityError
from clinnlp.evaluation.scorers_table import Ints, SpanTable, tally

BATCH_CHARS = 4_000_000  # what is read into arrays at once, so that memory is bounded

_SPACE, _LETTER, _DIGIT, _OTHER, _MARK, _FORMAT, _UNSEEN = range(7)
_KINDS = np.full(0x110000, _UNSEEN, np.uint8)  # filled as characters are met
_UNSPACED = re.compile(  # scripts written without spaces, of which each character is a unit
    "[\u0e00-\u109f\u1780-\u17ff\u3005-\u30ff\u31f0-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
_TAG = re.compile(r"[BIES]-.+", re.DOTALL)

Chunk = tuple[int, int, str]
Flags = npt.NDArray[np.bool_]


def lenient(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> LabelScores:
    """Scores of tag sequences by the counting of conlleval and of seqeval's default mode.

    An I or E goes on with the chunk of a B or I of its label before it; any other tag but O begins a chunk, so no
    sequence is illegal. Raises DataError for tags other than O and B, I, E, S with a label, or unequal lengths.
    """
    unequal = sum(len(one) != len(other) for one, other in zip(gold, predicted, strict=False))
    if len(gold) != len(predicted) or unequal:
        raise DataError(
            f"gold has {len(gold)} tag sequences, predictions {len(predicted)}; {unequal} of them differ in length",
            next="give one tag for each token on both sides",
        )
    counts: Counter[tuple[str, int]] = Counter()
    for one, other in zip(gold, predicted, strict=True):
        ours, theirs = set(chunks(one)), set(chunks(other))
        for column, part in enumerate((ours & theirs, theirs - ours, ours - theirs)):
            counts.update((label, column) for _, _, label in part)
    labels = sorted({label for label, _ in counts})
    return LabelScores({label: Score(*(counts[label, column] for column in range(3))) for label in labels})


def chunks(tags: Sequence[str]) -> list[Chunk]:
    """The chunks of one tag sequence as (first, after the last, label). Raises DataError as `lenient`."""
    found: list[Chunk] = []
    before = "O"
    for position, tag in enumerate(tags):
        if tag != "O":
            if not _TAG.fullmatch(tag):
                raise DataError(
                    "a tag is neither O nor B, I, E or S with a hyphen and a label", next="write tags such as B-PROBLEM"
                )
            goes_on = tag[0] in "IE" and before[0] in "BI" and before[2:] == tag[2:]
            first = found.pop()[0] if goes_on else position
            found.append((first, position + 1, tag[2:]))
        before = tag
    return found


def cover_spans(table: SpanTable, texts: Sequence[str]) -> dict[str, Scorer]:
    """The scores token, character and lenient of the spans of documents with these texts.

    Characters and tokens are sets for each document and label. A token is a unit of the text: a run of letters, a run
    of digits or another visible character; a span holds those it shares a character with. lenient compares the chunks
    of units that stand side by side in one label: what conlleval reads when spans are written as IO tags.
    Raises IntegrityError if they disagree with the strict matches where the two must agree.
    """
    row, start, end = table.parts(np.arange(len(table.start)))
    order = np.argsort(start, kind="stable")
    row, start, end = row[order], start[order], end[order]
    first, last = _units(table, texts, start, end)
    label = table.label[row]
    order = np.argsort(label, kind="stable")
    row, label = row[order], label[order]
    in_gold, in_predicted = table.gold[row] > 0, table.predicted[row] > 0
    characters = _Cover(table.labels, label, start[order], end[order], in_gold, in_predicted)
    full = first[order] < last[order]  # a span of blanks holds no unit
    units = _Cover(table.labels, label[full], first[order][full], last[order][full], in_gold[full], in_predicted[full])
    chunks = units.chunks()
    _cross_check(table, np.stack([label, first[order], last[order]])[:, full], chunks)
    return {
        "token": CountScores("token", units.sets()),
        "character": CountScores("character", characters.sets()),
        "lenient": CountScores("chunk", chunks),
    }


def _cross_check(table: SpanTable, units: Ints, chunks: LabelScores) -> None:
    """Compare two ways of counting that share no code: matches of characters, and chunks of units (label, first, last).

    They must agree on each label whose spans are all contiguous, distinct by their units and apart from each other.
    """
    spans = table.by_label(np.ones_like(table.label))
    distinct, parts = (
        np.bincount(labels, minlength=len(table.labels)) for labels in (np.unique(units, axis=1)[0], units[0])
    )
    sides = [table.by_label(side).tolist() for side in (table.gold, table.predicted, table.equal)]
    apart = (spans == parts) & (spans == distinct)
    for number, (gold, predicted, strict) in enumerate(zip(*sides, strict=True)):
        found = chunks.per_label[table.labels[number]]
        if apart[number] and (found.support, found.tp + found.fp) == (gold, predicted) and found.tp != strict:
            raise IntegrityError(
                f"{strict} spans of a label match by characters and {found.tp} by tokens, where both must be the same",
                next="report it: one of the two counts is wrong",
            )


class _Cover:
    """Intervals sorted by label, then start, and which of them gold and predictions hold."""

    def __init__(
        self, labels: tuple[str, ...], label: Ints, start: Ints, end: Ints, in_gold: Flags, in_predicted: Flags
    ) -> None:
        axis = label * (int(end.max(initial=0)) + 1)  # the labels one after another, with something between
        self.labels, self.label, self.start, self.end = labels, label, start + axis, end + axis
        self.gold, self.predicted = in_gold, in_predicted

    def sets(self) -> LabelScores:
        """What both sides cover, by label: |A and B| = |A| + |B| - |A or B|."""
        gold, predicted = self._size(self.gold), self._size(self.predicted)
        both = gold + predicted - self._size(self.gold | self.predicted)
        return _scores(self.labels, both, predicted, gold)

    def chunks(self) -> LabelScores:
        """Intervals that touch or overlap become one; those with the same bounds on both sides are right."""
        ours, our_ends, our_labels = self._merged(self.gold)
        theirs, their_ends, their_labels = self._merged(self.predicted)
        _, left, right = np.intersect1d(ours, theirs, assume_unique=True, return_indices=True)
        both = our_labels[left[our_ends[left] == their_ends[right]]]
        counts = (np.bincount(found, minlength=len(self.labels)) for found in (both, their_labels, our_labels))
        return _scores(self.labels, *counts)

    def _size(self, chosen: Flags) -> Ints:
        start, end = self.start[chosen], self.end[chosen]
        reach = np.maximum.accumulate(end)
        start[1:] = np.maximum(start[1:], reach[:-1])
        return tally(self.label[chosen], len(self.labels), np.maximum(end - start, 0))

    def _merged(self, chosen: Flags) -> tuple[Ints, Ints, Ints]:
        start, end = self.start[chosen], self.end[chosen]
        reach = np.maximum.accumulate(end)
        begins = np.ones(len(start), np.bool_)
        begins[1:] = start[1:] > reach[:-1]
        lasts = np.append(np.flatnonzero(begins)[1:], len(start))[: int(begins.sum())] - 1
        return start[begins], reach[lasts], self.label[chosen][begins]


def _scores(labels: tuple[str, ...], both: Ints, predicted: Ints, gold: Ints) -> LabelScores:
    rows = zip(labels, both.tolist(), (predicted - both).tolist(), (gold - both).tolist(), strict=True)
    return LabelScores({label: Score(tp, fp, fn) for label, tp, fp, fn in rows})


def _units(table: SpanTable, texts: Sequence[str], start: Ints, end: Ints) -> tuple[Ints, Ints]:
    """The first unit that each interval (sorted by start) shares a character with, and the one after the last.

    Units are numbered through all documents, with a free number between documents.
    """
    first, last = np.zeros_like(start), np.zeros_like(end)
    done = 0  # documents
    units = 0
    while done < table.documents:
        bound = int(np.searchsorted(table.offsets, table.offsets[done] + BATCH_CHARS, side="right")) - 1
        until = min(max(bound, done + 1), table.documents)
        begins, visible = unit_starts("\n".join(texts[done:until]))
        inside = slice(*np.searchsorted(start, table.offsets[[done, until]]))
        if inside.start < inside.stop:
            number = np.cumsum(begins, dtype=np.int32)
            starts, ends = start[inside] - table.offsets[done], end[inside] - table.offsets[done]
            document = np.searchsorted(table.offsets, start[inside], side="right")
            first[inside] = units + document + number[starts] + ~visible[starts]  # the next one, if on a blank
            last[inside] = units + document + number[ends - 1] + 1
            units += int(number[-1])
        done = until
    return first, last


def unit_starts(text: str) -> tuple[Flags, Flags]:
    """Which characters begin a unit of the text, and which are visible: (characters,) each.

    Marks and invisible characters belong to the unit before them. On text without flags and emoji sequences these are
    the units that `encode` gives tags to.
    """
    plain = text.isascii()
    codes = np.frombuffer(text.encode("ascii" if plain else "utf-32-le"), np.uint8 if plain else np.uint32)
    kinds = _KINDS[codes]
    if (kinds == _UNSEEN).any():
        for code in np.unique(codes[kinds == _UNSEEN]).tolist():
            _KINDS[code] = _kind(chr(code))
        kinds = _KINDS[codes]
    visible = kinds != _SPACE
    joined = kinds >= _MARK
    if joined.any():
        joined[:1] = False
        joined[1:] &= visible[:-1]
        base = np.maximum.accumulate(np.where(joined, 0, np.arange(len(kinds))))
        alone = np.array([_SPACE, _LETTER, _DIGIT, _OTHER, _LETTER, _OTHER], np.uint8)  # what a mark is without a base
        kinds = alone[kinds][base]
    begins = (kinds == _OTHER) | visible
    begins[1:] &= (kinds[1:] == _OTHER) | (kinds[1:] != kinds[:-1])
    return begins & ~joined, visible


def _kind(character: str) -> int:
    if character.isspace():
        return _SPACE
    category = unicodedata.category(character)
    if category == "Cf":
        return _FORMAT
    kind = {"M": _MARK, "L": _LETTER, "N": _DIGIT}.get(category[0], _OTHER)
    return _OTHER if kind == _LETTER and _UNSPACED.match(character) else kind
