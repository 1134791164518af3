"""Text as token and tag lines: what a flat tag sequence can hold of the spans."""

import re
from collections.abc import Iterator, Sequence

from clinnlp.core.document import Document, Span
from clinnlp.formats._tags import write_tags

WORD = re.compile(r"\w+|[^\w\s]")
CONTROL = re.compile(r"[\t\n\r]")


def choose_spans(document: Document) -> list[Span]:
    """The spans that a flat tag sequence can hold, in text order: the longer of two that overlap, then the first."""
    text, kept = document.text, list[Span]()
    joined = _is_joined(document)
    taken = bytearray(len(text))
    for span in sorted(document.spans, key=lambda span: (span.start - span.end, span.start)):
        piece = text[span.start : span.end]
        fits = bool(span.label) and not CONTROL.search(span.label) and not span.fragments and bool(piece.strip())
        if fits and not any(taken[span.start : span.end]) and not (joined and "\n" in piece):
            taken[span.start : span.end] = b"\x01" * len(piece)
            kept.append(span)
    return sorted(kept, key=lambda span: span.start)


def tag_lines(document: Document, spans: list[Span], scheme: str) -> Iterator[tuple[str, str]]:
    """Token and tag of each line; ("", "") after each sentence."""
    inner = (place for span in spans for place in (span.start, span.end))
    tokens = list(_tokens(document, sorted(set(inner))))
    waiting = iter(spans)
    span = next(waiting, None)
    last: Span | None = None  # the span that the token before belonged to
    n = 0
    while n < len(tokens):
        start, end, ends_sentence = tokens[n]
        while span is not None and span.end <= start:
            span = next(waiting, None)
        if span is None or end <= span.start:
            yield document.text[start:end], "O"
            last, n = None, n + 1
        else:
            after = n
            while after < len(tokens) and tokens[after][0] < span.end:
                after += 1
            again = last is not None and last.label == span.label
            for place, tag in zip(range(n, after), write_tags(after - n, span.label, scheme, again), strict=True):
                yield document.text[tokens[place][0] : tokens[place][1]], tag
            last, n = span, after
            ends_sentence = tokens[n - 1][2]  # a line end inside an entity ends no sentence
        if ends_sentence:
            last = None
            yield "", ""


def joined_text(lines: Sequence[tuple[str, str]]) -> str:
    """The text that these lines are read back as: tokens joined by a blank, sentences by a line feed."""
    sentences: list[list[str]] = [[]]
    for token, tag in lines:
        if tag:
            sentences[-1].append(token)
        else:
            sentences.append([])
    return "\n".join(" ".join(tokens) for tokens in sentences[:-1])


def _is_joined(document: Document) -> bool:
    return document.meta.get("conll") in ("sentence", "document")


def _tokens(document: Document, cuts: list[int]) -> Iterator[tuple[int, int, bool]]:
    """Start, end, and whether a sentence ends after it, of each token."""
    text = document.text
    if not text and document.meta.get("conll") != "sentence":
        return
    held = list(_joined(text)) if _is_joined(document) else [match.span() for match in WORD.finditer(text)]
    pieces = list(_cut(held, cuts))
    for (start, end), following in zip(pieces, [*pieces, None][1:], strict=True):
        yield start, end, following is None or "\n" in text[end : following[0]]


def _joined(text: str) -> Iterator[tuple[int, int]]:
    at = 0
    for sentence in text.split("\n"):
        for token in sentence.split(" "):
            yield at, at + len(token)
            at += len(token) + 1


def _cut(tokens: list[tuple[int, int]], cuts: list[int]) -> Iterator[tuple[int, int]]:
    n = 0
    for start, end in tokens:
        at = start
        while n < len(cuts) and cuts[n] <= at:
            n += 1
        while n < len(cuts) and cuts[n] < end:
            yield at, cuts[n]
            at = cuts[n]
            n += 1
        yield at, end
