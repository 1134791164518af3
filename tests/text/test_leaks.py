"""What two splits share: patients, long texts and short ones."""

from itertools import count

from clinnlp.core.document import Document
from clinnlp.core.files import bundled
from clinnlp.formats.base import read
from clinnlp.text.leaks import LONG, Leak, find_leaks, long_text_hashes, notes_among, same_notes

COPIED = "Copied forward. " * 13  # 207 characters without the last blank


ids = count()


def note(text: str, group: str | None = None) -> Document:
    return Document(str(next(ids)), text, group=group)


def test_leaks_by_hand() -> None:
    train = [note(COPIED, "a"), note("No fever.", "b"), note(COPIED, "b"), note("Seen.", None)]
    test = [
        note(COPIED.upper() + "\r\n", "c"),
        note("no  FEVER.", "b"),
        note(COPIED.replace(" ", "\n"), "b"),
        note("x"),
    ]
    assert find_leaks({"train": train, "dev": [], "test": test}) == [
        Leak("groups", "train", "test", count=1, notes=2),
        Leak("duplicates", "train", "test", count=1, notes=2),
        Leak("short texts", "train", "test", count=1, notes=1),
    ]


def test_the_border_between_long_and_short_is_the_length_without_needless_blanks() -> None:
    for length, kind in ((LONG - 1, "short texts"), (LONG, "duplicates")):
        text = "a" * length
        (leak,) = find_leaks({"dev": [note(text)], "test": [note(f"  {text}\n\n")]})
        assert leak == Leak(kind, "dev", "test", 1, 1)  # type: ignore[arg-type]


def test_what_is_no_leak() -> None:
    assert find_leaks({"train": [note(COPIED, "a"), note(COPIED, "a")]}) == [], "one split"
    assert find_leaks({"train": [note("", None), note(" ")], "test": [note(""), note("\n")]}) == [], "no text, no group"
    assert find_leaks({"train": [note("a b")], "test": [note("ab")]}) == []


def test_the_same_notes_by_hand() -> None:
    first = [Document("1", "No pain"), Document("2", " "), Document("3", "fever")]
    second = [Document("1", "no  pain"), Document("2", " "), Document("4", "fever"), Document("3", "cough")]
    assert find_leaks({"train": first, "test": second}) == [Leak("short texts", "train", "test", 2, 2)], "1 of 4"
    assert Leak("same notes", "train", "test", 1, 1) in find_leaks({"train": first, "test": second[:2]})
    assert same_notes(first, second) == 1, "an empty text, another id or another text is another note"


def test_hashes_of_what_was_trained_on() -> None:
    trained = [note(COPIED), note(COPIED.upper()), note("short"), note("b" * LONG)]
    hashes = long_text_hashes((d.text for d in trained), "salt")
    assert len(hashes) == 2 and all(len(value) == 16 for value in hashes), "8 bytes each; short texts leave none"
    assert notes_among([note(f" {COPIED}"), note("short"), note("c" * LONG), note("B" * LONG)], hashes, "salt") == 2
    assert notes_among([note(COPIED)], hashes, "other salt") == 0


def test_the_bundled_notes_are_free_of_leaks() -> None:
    parts = {name: list(read(bundled(f"data/notes/{name}.jsonl"), "jsonl")) for name in ("train", "dev", "test")}
    assert find_leaks(parts) == []
    unlabelled = list(read(bundled("data/notes/unlabelled.jsonl"), "jsonl"))
    assert find_leaks({"pretraining": unlabelled, "test": parts["test"]}) == []
