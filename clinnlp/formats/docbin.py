"""spaCy DocBin (`.spacy`): notes as spaCy documents, which spaCy trains on and reads without clinnlp."""

import itertools
import logging
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from clinnlp.core.document import Document, Quarantined
from clinnlp.errors import DataError, UnsafeError
from clinnlp.formats._bytes import MAX_RATIO, RATIO_FROM, Bad, encode, whole_file
from clinnlp.formats._records import Fields, dump_json, parse_json, to_document, to_spans
from clinnlp.formats.base import Format

TOKEN = re.compile(r"\w+|\s+|[^\w\s]")
ATTRIBUTES = ("ORTH", "ENT_IOB", "ENT_TYPE")  # what is set: the other columns of a DocBin would be zeros
PART_DOCUMENTS, PART_CHARACTERS = 1000, 2**23
OURS = "clinnlp"  # key of the user data
FIELDS = Fields("id", "text", "spans", "labels", "group")

log = logging.getLogger("clinnlp")


@dataclass(frozen=True)
class Docbin(Format):
    """spaCy DocBin: spans in doc.spans and, where flat, in doc.ents; note labels in doc.cats; the rest in user data.

    The tokens cover every character and are cut at span borders, so text and offsets are exact. `user_data["clinnlp"]`
    is a JSON object with id, group, meta and what a spaCy span cannot hold: score, attributes, fragments. spaCy packs
    and unpacks a file as a whole: for many notes, let PATH be a folder, whose files hold up to 1,000 notes each.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".spacy",)

    spans_key: str = "clinnlp"
    """Span group of doc.spans to write and read; a note without this group is read from doc.ents."""

    def read_file(self, path: Path) -> Iterator[Document | Quarantined]:
        """Stream the notes of one file; one whose user data contradicts it is set aside.

        Spans in groups of other names are not read: a warning counts them.
        Raises DataError for what is no DocBin, UnsafeError for one that unpacks to far more than notes do.
        """
        from spacy.tokens import DocBin
        from spacy.vocab import Vocab

        raw = path.read_bytes()
        _check_size(raw, path.name)
        number, unread = 0, Counter[str]()
        try:
            held = DocBin().from_bytes(raw)
            docs = held.get_docs(Vocab())
            for number in itertools.count(1):
                doc = next(docs, None)
                if doc is None:
                    break
                unread.update({name: len(spans) for name, spans in doc.spans.items() if name != self.spans_key})
                try:
                    record: Document | Quarantined = self._document(doc, number)
                except Bad as reason:
                    record = Quarantined(f"{path.name} doc {number}", str(reason))
                yield record
            for name, count in (+unread).items():
                log.warning(
                    "%s: %d spans of group %r are not read: spans_key names the one that is", path.name, count, name
                )
        except GeneratorExit:
            raise
        except Exception as error:  # spaCy, msgpack and numpy raise anything over a broken file, and may quote it
            raise DataError(
                f"not a whole spaCy DocBin: unreadable after doc {max(number - 1, 0)} ({type(error).__name__})",
                where=path.name,
                next="write it again with DocBin.to_disk",
            ) from None

    def _document(self, doc: Any, number: int) -> Document:
        ours = _ours(doc.user_data.get(OURS))
        waiting: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for entry in ours.pop("spans", ()):
            waiting.setdefault((entry.get("start"), entry.get("end"), entry.get("label")), []).append(entry)
        spans = []
        for span in doc.spans.get(self.spans_key, doc.ents):
            place = {"start": span.start_char, "end": span.end_char, "label": span.label_}
            more = waiting.get(tuple(place.values()))
            spans.append((more.pop(0) if more else {}) | place)
        if set(ours.get("labels", ())) != set(doc.cats):  # made or changed in spaCy
            ours["labels"] = [label for label, score in doc.cats.items() if score >= 0.5]
        return to_document({**ours, "text": doc.text, "spans": spans}, FIELDS, number)

    def write(self, documents: Iterable[Document], path: Path) -> dict[str, int]:
        """Write one file, or, where PATH does not end in .spacy, a folder of them that needs little memory.

        A note whose text spaCy cannot hold exactly is left out and counted.
        """
        counts = Counter(documents=0, spans=0, spans_not_in_ents=0, texts_not_representable=0)
        if path.name.endswith(self.suffixes):
            self._write_part(documents, path, 0, counts)
            return dict(counts)
        first = 0
        for number, part in enumerate(_parts(documents)):
            self._write_part(part, path / f"{number:06}.spacy", first, counts)
            first += len(part)
        return dict(counts)

    def _write_part(self, documents: Iterable[Document], path: Path, first: int, counts: Counter[str]) -> None:
        from spacy.tokens import DocBin
        from spacy.vocab import Vocab

        vocab, held = Vocab(), DocBin(attrs=ATTRIBUTES, store_user_data=True)
        for number, document in enumerate(documents, first + 1):
            doc = self._doc(document, vocab)
            if doc.text != document.text:
                counts["texts_not_representable"] += 1
                log.warning("left out: document %d: spaCy cannot hold its text exactly", number)
                continue
            held.add(doc)
            held.strings.update(str(word) for word in doc.cats)
            counts["documents"] += 1
            counts["spans"] += len(document.spans)
            counts["spans_not_in_ents"] += len(document.spans) - len(doc.ents)
        with whole_file(path) as out:
            out.write(held.to_bytes())

    def _doc(self, document: Document, vocab: Any) -> Any:
        from spacy.tokens import Doc
        from spacy.tokens import Span as Piece

        for name in (document.id, *document.labels, *(span.label for span in document.spans)):
            encode(name)
        tokens = tokenize(document)
        doc = Doc(vocab, words=[word for _, word, _ in tokens], spaces=[space for *_, space in tokens])
        first = {start: n for n, (start, _, _) in enumerate(tokens)}
        after = {start + len(word): n for n, (start, word, _) in enumerate(tokens, 1)}
        pieces = [Piece(doc, first[s.start], after[s.end], label=s.label) for s in document.spans]
        doc.spans[self.spans_key] = pieces
        doc.set_ents(_flat(document, pieces))
        doc.cats = dict.fromkeys(document.labels, 1.0)
        told = {
            "id": str(document.id),
            "group": document.group,
            "labels": list(document.labels),
            "meta": dict(document.meta),
            "spans": _with_more(to_spans(document)),
        }
        doc.user_data[OURS] = dump_json({key: value for key, value in told.items() if value not in (None, [], {})})
        return doc


def _with_more(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The spans that say more than place and label; with their twins there, which are told apart by their order."""
    places = [(entry["start"], entry["end"], entry["label"]) for entry in entries]
    more = {place for place, entry in zip(places, entries, strict=True) if len(entry) > len(place)}
    return [entry for place, entry in zip(places, entries, strict=True) if place in more]


def _parts(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents for one file each; at least one part, which may be empty."""
    held: list[Document] = []
    characters = 0
    for document in documents:
        if len(held) == PART_DOCUMENTS or characters > PART_CHARACTERS:
            yield held
            held, characters = [], 0
        held.append(document)
        characters += len(document.text)
    yield held


def tokenize(document: Document) -> list[tuple[int, str, bool]]:
    """Start and word of each token, and whether one blank follows it that is no token of its own.

    Together they cover every character, and each span starts and ends at a token border.
    """
    text = document.text
    starts, ends = {span.start for span in document.spans}, {span.end for span in document.spans}
    cuts = sorted({len(text), *starts, *ends, *(match.start() for match in TOKEN.finditer(text))})
    tokens: list[tuple[int, str, bool]] = []
    for start, end in itertools.pairwise(cuts):
        word = text[start:end]
        # a blank that a span starts with or ends after must be a token
        if word[0] == " " and tokens and not tokens[-1][2] and start not in starts and start + 1 not in ends:
            tokens[-1] = (*tokens[-1][:2], True)
            start, word = start + 1, word[1:]
        if word:
            tokens.append((start, word, False))
    return tokens


def _flat(document: Document, pieces: list[Any]) -> list[Any]:
    """The spans that doc.ents can hold: contiguous, with a label, the longer of two that overlap."""
    taken, kept = bytearray(len(document.text)), []
    order = sorted(range(len(pieces)), key=lambda n: (document.spans[n].start - document.spans[n].end, n))
    for n in order:
        span = document.spans[n]
        if span.label and not span.fragments and not any(taken[span.start : span.end]):
            taken[span.start : span.end] = b"\x01" * (span.end - span.start)
            kept.append(pieces[n])
    return kept


def _ours(told: object) -> dict[str, Any]:
    """The user data that `write` left, checked; empty where it left none. Raises Bad."""
    if told is None:
        return {}
    ours = parse_json(told) if isinstance(told, str) else None
    if not isinstance(ours, dict):
        raise Bad("its user data 'clinnlp' is no JSON object")
    listed = {key: ours.get(key, []) for key in ("labels", "spans")}
    if not all(isinstance(value, list) for value in listed.values()):
        raise Bad("the labels or spans of its user data are no list")
    if not all(isinstance(label, str) for label in listed["labels"]):
        raise Bad("a label of its user data is no string")
    if not all(isinstance(entry, dict) for entry in listed["spans"]):
        raise Bad("a span of its user data is no object")
    return {key: ours[key] for key in ("id", "group", "meta", "labels", "spans") if key in ours}


def _check_size(raw: bytes, where: str) -> None:
    """Unpack without keeping anything. Raises UnsafeError for a bomb, DataError for what is no packed file."""
    unpacker, unpacked, rest = zlib.decompressobj(), 0, raw
    try:
        while rest:
            unpacked += len(unpacker.decompress(rest, 2**20))
            rest = unpacker.unconsumed_tail
            if unpacked > RATIO_FROM and unpacked > MAX_RATIO * len(raw):
                raise UnsafeError("unpacks to far more than text does", where=where, next="check its origin")
    except zlib.error:
        raise DataError("not a spaCy DocBin", where=where, next="write it with DocBin.to_disk") from None
