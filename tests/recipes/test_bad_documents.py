"""Sixty and more kinds of records among good notes: each is in the account, the good ones are labeled as if alone."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import clinnlp
from tests.recipes.command import clinnlp as command
from tests.recipes.command import notes, read_json

CANARY = "Qvortrup"


def line(text: object, **more: object) -> bytes:
    return json.dumps({"id": "?", "text": text, **more}).encode()


def span(**held: object) -> bytes:
    return line(f"{CANARY} has fever", spans=[{"start": 0, "end": 8, "label": "X", **held}])


ASIDE: dict[str, tuple[bytes, str]] = {
    "torn": (b'{"id": "?", "text": "Qvortrup', "not valid JSON"),
    "a key twice": (b'{"id": "?", "text": "a", "text": "Qvortrup"}', "an object holds the same key twice"),
    "NaN": (b'{"id": "?", "text": "Qvortrup", "x": NaN}', "holds NaN or Infinity"),
    "infinity": (b'{"id": "?", "text": "Qvortrup", "x": -Infinity}', "holds NaN or Infinity"),
    "nested deeply": (b'{"id": "?", "text": "Qvortrup", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too"),
    "two objects": (line(CANARY) + line(CANARY), "not valid JSON"),
    "a list": (b'["Qvortrup"]', "a list, not an object"),
    "a string": (b'"Qvortrup"', "a str, not an object"),
    "a number": (b"7", "a int, not an object"),
    "null": (b"null", "a NoneType, not an object"),
    "no text": (b'{"id": "Qvortrup"}', "field 'text' is missing"),
    "text null": (line(None), "field 'text' is null, not a string"),
    "text whole number": (line(7), "field 'text' is int, not a string"),
    "text number": (line(7.5), "field 'text' is float, not a string"),
    "text true": (line(True), "field 'text' is bool, not a string"),
    "text list": (line([CANARY]), "field 'text' is list, not a string"),
    "text object": (line({CANARY: CANARY}), "field 'text' is dict, not a string"),
    "id null": (line(CANARY, id=None), "field 'id' is null"),
    "id number": (line(CANARY, id=7.5), "field 'id' is float"),
    "id true": (line(CANARY, id=True), "field 'id' is bool"),
    "id list": (line(CANARY, id=[CANARY]), "field 'id' is list"),
    "latin-1": (b'{"id": "?", "text": "Qvortrup caf\xe9"}', "not valid UTF-8 at byte"),
    "cp1252 quotes": (b'{"id": "?", "text": "\x93Qvortrup\x94"}', "not valid UTF-8 at byte"),
    "cut UTF-8": (b'{"id": "?", "text": "Qvortrup \xe2\x82"}', "not valid UTF-8 at byte"),
    "overlong UTF-8": (b'{"id": "?", "text": "Qvortrup \xc0\xaf"}', "not valid UTF-8 at byte"),
    "UTF-16": ('{"id": "?", "text": "Qvortrup"}'.encode("utf-16").replace(b"\n", b" "), "the file is UTF-16"),
    "high surrogate": (line(f"{CANARY} \ud83d"), "holds a lone surrogate"),
    "low surrogate": (line(f"{CANARY} \udc00"), "holds a lone surrogate"),
    "surrogate in the id": (line(CANARY, id="\ud83d"), "holds a lone surrogate"),
    "surrogate in meta": (line(CANARY, other="\ud83d"), "holds a lone surrogate"),
    "digits": (b'{"id": "?", "text": "Qvortrup", "x": ' + b"9" * 5000 + b"}", "a number with too many digits"),
    "large float": (b'{"id": "?", "text": "Qvortrup", "x": 1e999}', "a number too large for a float"),
    "comma at the end": (b'{"id": "?", "text": "Qvortrup",}', "not valid JSON"),
    "single quotes": (b"{'id': '?', 'text': 'Qvortrup'}", "not valid JSON"),
    "control character": (b'{"id": "?", "text": "Qvortrup \x01"}', "not valid JSON"),
    "span outside": (span(end=99), "span 1 ends outside the text of 18 characters"),
    "span reversed": (span(start=8, end=0), "span 1 is empty or reversed"),
    "span offset text": (span(start="0"), "an offset of span 1 is str, not a whole number"),
    "span label null": (span(label=None), "the label of span 1 is null, not a string"),
    "span surface": (span(text="other"), "the text of span 1 is not what stands at its offsets"),
    "spans object": (line(CANARY, spans={"a": 1}), "field 'spans' is dict, not a list"),
    "CSV": (b"?,Qvortrup", "not valid JSON"),
    "XML": (b"<note>Qvortrup</note>", "not valid JSON"),
    "too long": (line("x" * 3_000_001), "longer than 3000000 characters"),
}  # fmt: skip
READ: dict[str, str] = {
    "empty": "",
    "a blank": " ",
    "blanks": " \t\r\n \x0b\x0c\x85 ",
    "zero width": "\u200b\u200d\ufeff\u2060",
    "NUL": f"fever \x00 {CANARY} \x00",
    "CR": "fever\rcough",
    "CRLF": "fever\r\ncough\r\n",
    "LS": "fever\u2028cough\u2029",
    "VT, FF, NEL": "fever\x0bcough\x0c\x85nausea",
    "combining": "cafe\u0301 fe\u0301ver",
    "NFKC": "ﬁbrosis ½ ① ™ ﬀ",
    "lower case grows": "İSTANBUL ẞ fever",
    "emoji": "fever 👨‍👩‍👧‍👦 🇩🇪 👍🏽 cough",
    "right to left": "\u05d7\u05d5\u05dd fever \u0627\u0644\u062d",
    "bidi override": "fever \u202ehguoc\u202c",
    "soft hyphen": "as\u00adpirin",
    "zero width inside": "as\u200bpi\u200drin",
    "NBSP": "aspirin\u00a0100\u2009mg",
    "ten thousand blanks": "fever" + " " * 10_000 + "cough",
    "special tokens": "[CLS] fever [SEP] [MASK] [PAD] <s> </s> ##ing Ġ ▁",
    "placeholders": "[**Name**] ___ XXXX fever",
    "HTML": "<script>alert(1)</script> &amp; fever",
    "nothing for the tokenizer": "\ue000\ue001 \ufffd",
    "private use": "fever \ue000 \U000f0000",
    "unassigned": "\u0378 \ufffe fever",
    "a long word": "aGVsbG8=" * 12_500,
    "a long line": "fever " * 40_000,
    "None": "None",
    "nan": "nan",
    "NA": "NA",
    "formula": "=HYPERLINK(1)",
    "escape codes": "\x1b[31mfever\x1b[0m \x07",
    "JSON in text": '{"text": "fever"}',
    "one letter": "x",
    "digits": "0" * 1000,
    "surrogate pair": "\U0001f600" * 600,
    "many accents": "e" + "\u0301" * 2000,
}


class Seen(NamedTuple):
    """What became of the notes: rows of both tables by their number, quarantine lines, and what was said."""

    documents: dict[int, Any]
    spans: list[Any]
    aside: dict[int, dict[str, Any]]
    told: str
    places: dict[str, int]
    counts: dict[str, Any]


@pytest.fixture(scope="module")
def good(ner_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[int, int, str, float]]]:
    """The spans of the good notes, labeled alone."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "n.jsonl").write_bytes(b"".join(json.dumps(note).encode() + b"\n" for note in notes(40, "good")))
    words = ("--model", ner_run / "model", "--notes", folder / "n.jsonl", "--out", folder / "out", "--workers", 0)
    assert command("label", *words) == 0
    return by_note(clinnlp.read_labels(folder / "out").spans.itertuples())


def by_note(rows: Any) -> dict[str, list[tuple[int, int, str, float]]]:
    found: dict[str, list[tuple[int, int, str, float]]] = {}
    for row in rows:
        found.setdefault(row.document_id, []).append((row.start, row.end, row.label, row.score))
    return found


@pytest.fixture(scope="module")
def seen(ner_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """One run over all kinds, good notes between them."""
    folder = tmp_path_factory.mktemp("bad")
    lines, places = [json.dumps(notes(40, "good")[0]).encode()], {}
    between = iter(notes(40, "good")[1:])
    kinds = [(name, raw) for name, (raw, _) in ASIDE.items()]
    kinds += [
        (f"read {name}", json.dumps({"id": f"read {name}", "text": text}).encode()) for name, text in READ.items()
    ]
    for number, (name, raw) in enumerate(kinds):
        places[name] = len(lines)
        lines.append(raw)
        if number % 2 and (note := next(between, None)):
            lines.append(json.dumps(note).encode())
    lines += [json.dumps(note).encode() for note in between]
    (folder / "n.jsonl").write_bytes(b"\n".join(lines))
    words = ("--model", ner_run / "model", "--notes", folder / "n.jsonl", "--out", folder / "out", "--workers", 0)
    assert command("label", *words, "--shard_documents", 30, "--max_characters", 3_000_000, "--max_failures", 1) == 3
    spans, documents = clinnlp.read_labels(folder / "out")
    files = sorted((folder / "out" / "quarantine").iterdir())
    aside = [json.loads(raw) for path in files for raw in path.read_text().splitlines()]
    told = "".join(path.read_text() for path in files) + (folder / "out" / "counts.json").read_text()
    rows = {row.ordinal: row for row in documents.itertuples()}
    counts = read_json(folder / "out" / "counts.json")
    return Seen(rows, list(spans.itertuples()), {a["ordinal"]: a for a in aside}, told, places, counts)


def test_there_are_sixty_kinds_and_all_are_in_the_account(seen: Seen) -> None:
    assert len(ASIDE) + len(READ) >= 60
    assert list(seen.documents) == list(range(len(ASIDE) + len(READ) + 40)), "one row for each record, in order"
    assert seen.counts["input"] == seen.counts["labeled"] + seen.counts["quarantined"] == len(seen.documents)
    assert seen.counts["quarantined"] == len(ASIDE) == len(seen.aside)
    assert (seen.counts["empty"], seen.counts["untokenizable"]) == (4, 1)
    assert CANARY not in seen.told


@pytest.mark.parametrize("name", ASIDE)
def test_set_aside(name: str, seen: Seen) -> None:
    place = seen.places[name]
    assert seen.documents[place].status == "quarantined"
    aside = seen.aside[place]
    assert ASIDE[name][1] in aside["reason"]
    if name == "too long":
        assert (aside["code"], aside["where"]) == ("CLN-D202", f"note {place + 1} of the input")
        assert len(aside["doc_ref"]) == 12
    else:
        assert (aside["code"], aside["where"]) == ("CLN-D201", f"n.jsonl line {place + 1}")


@pytest.mark.parametrize("name", READ)
def test_read_whole(name: str, seen: Seen) -> None:
    row, text = seen.documents[seen.places[f"read {name}"]], READ[name]
    assert (row.document_id, row.characters, row.characters_read) == (f"read {name}", len(text), len(text))
    empty = name in ("empty", "a blank", "blanks", "zero width")
    dropped = name == "nothing for the tokenizer"
    assert row.status == ("empty" if empty else "untokenizable" if dropped else "labeled")
    for found in (span for span in seen.spans if span.document_id == row.document_id):
        surface = text[found.start : found.end]
        assert len(surface) == found.end - found.start and surface == surface.strip()


def test_good_notes_are_labeled_as_if_alone(seen: Seen, good: dict[str, list[Any]]) -> None:
    found = by_note(span for span in seen.spans if not span.document_id.startswith("read "))
    assert found == good and len(good) > 30
