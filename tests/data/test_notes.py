"""The synthetic sample notes: exact offsets, honest splits, the counts they claim, and the same bytes every time."""

import json
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from clinnlp.core.document import Document, Span

DATA = Path(__file__).resolve().parents[2] / "data"
sys.path.insert(0, str(DATA))  # the generator is a script folder, not part of the package

import baseline  # noqa: E402
import generate  # noqa: E402
from notegen import book_test, book_train  # noqa: E402
from notegen.compose import long_sentences  # noqa: E402
from notegen.draft import MARK  # noqa: E402
from notegen.facts import Book  # noqa: E402
from notegen.lexicon import LABELS, all_terms, categories  # noqa: E402

SPLITS = ("train", "dev", "test", "unlabelled")
LABELLED = SPLITS[:3]
SPAN_LABELS = {"PROBLEM", "MEDICATION", "DOSE", "TEST", "ANATOMY"}
NOTE_TYPES = set(generate.NOTE_TYPES)


@cache
def records(split: str) -> tuple[dict[str, Any], ...]:
    """The committed records of a split."""
    lines = (DATA / "notes" / f"{split}.jsonl").read_bytes().decode("utf-8").split("\n")
    return tuple(json.loads(line) for line in lines if line)


def surface(record: dict[str, Any], span: dict[str, Any]) -> str:
    return record["text"][span["start"] : span["end"]]


def skeletons(record: dict[str, Any]) -> set[str]:
    """The sentences of a note with entities, placeholders and numbers masked, if at least four words are left."""
    text = record["text"]
    for span in reversed(record["spans"]):
        text = text[: span["start"]] + "@" + text[span["end"] :]
    text = re.sub(r"\[\*\*.*?\*\*\]|___|\d+", "@", text)
    found = set()
    for part in re.split(r"[\r\n]+|(?<=[.?!:])\s+|\s-\s", text):
        words = re.findall(r"[a-z]+|@", part.casefold())
        if sum(word != "@" for word in words) >= 4:
            found.add(" ".join(words))
    return found


def frames(book: Book) -> set[str]:
    """The templates of a book with slots masked."""
    sections = [section for layout in book.layouts.values() for section in layout] + [book.day]
    texts = [frame for section in sections for frame in section.frames]
    texts += [frame for pool in book.brief.values() for frame in pool]
    masked = (re.findall(r"[a-z]+|@", MARK.sub("@", text).casefold()) for text in texts)
    return {" ".join(words) for words in masked if sum(word != "@" for word in words) >= 3}


def test_the_same_seed_gives_the_committed_bytes(tmp_path: Path) -> None:
    command = [sys.executable, "-B", str(DATA / "generate.py"), "--seed", "7", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    for split in SPLITS:
        name = f"{split}.jsonl"
        assert (tmp_path / "notes" / name).read_bytes() == (DATA / "notes" / name).read_bytes(), name


def test_another_seed_gives_other_notes() -> None:
    assert generate.to_bytes(generate.make_all(8)["dev"]) != (DATA / "notes" / "dev.jsonl").read_bytes()


def test_the_files_hold_no_carriage_return_and_stay_small() -> None:
    files = [DATA / "notes" / f"{split}.jsonl" for split in SPLITS]
    assert all(b"\r" not in file.read_bytes() for file in files)  # those of CRLF notes are escaped in JSON
    assert sum(file.stat().st_size for file in files) < 1_500_000


@pytest.mark.parametrize("split", LABELLED)
def test_offsets_are_exact_flat_and_trimmed(split: str) -> None:
    for record in records(split):
        end = 0
        for span in record["spans"]:
            assert end <= span["start"] < span["end"] <= len(record["text"]), record["id"]
            assert surface(record, span) == surface(record, span).strip() != ""
            assert not set("{}<>|\r\n") & set(surface(record, span)), record["id"]
            assert set(span.get("attributes", {})) <= {"negated", "family", "hypothetical", "uncertain"}
            end = span["end"]
        spans = tuple(
            Span(s["start"], s["end"], s["label"], attributes=s.get("attributes", {})) for s in record["spans"]
        )
        Document(record["id"], record["text"], spans, tuple(record["labels"]), record["group"], record["meta"])


@pytest.mark.parametrize("split", SPLITS)
def test_no_slot_is_left_unfilled(split: str) -> None:
    assert all(not re.search(r"\{\^?\w+|<[PMDTA][-fhu]?\|", record["text"]) for record in records(split))


def test_a_patient_is_in_one_split_and_has_several_notes() -> None:
    groups = {split: {record["group"] for record in records(split)} for split in SPLITS}
    for index, split in enumerate(SPLITS):
        assert all(re.fullmatch(r"P\d{4}", group) for group in groups[split])
        assert len(groups[split]) < len(records(split)) / 2
        assert not any(groups[split] & groups[other] for other in SPLITS[index + 1 :])


def test_ids_and_texts_are_unique_over_all_splits() -> None:
    everything = [record for split in SPLITS for record in records(split)]
    assert len({record["id"] for record in everything}) == len(everything)
    assert len({record["text"] for record in everything}) == len(everything)


def test_unlabelled_notes_carry_no_target_and_no_held_out_sentence() -> None:
    held_out = {s for split in ("dev", "test") for record in records(split) for s in long_sentences(record["text"])}
    for record in records("unlabelled"):
        assert set(record) == {"id", "text", "group"}
        assert held_out.isdisjoint(long_sentences(record["text"])), record["id"]


def test_test_notes_share_no_sentence_frame_with_train_or_dev() -> None:
    known = {skeleton for split in ("train", "dev") for record in records(split) for skeleton in skeletons(record)}
    fresh = {skeleton for record in records("test") for skeleton in skeletons(record)}
    assert len(known) > 300 and len(fresh) > 200
    assert known & fresh == set()
    assert frames(book_train.BOOK) & frames(book_test.BOOK) == set()


def test_about_half_of_the_test_entities_are_unseen_in_train() -> None:
    seen = {(surface(r, s).casefold(), s["label"]) for r in records("train") for s in r["spans"]}
    spans = [(surface(r, s).casefold(), s["label"]) for r in records("test") for s in r["spans"]]
    share = sum(span not in seen for span in spans) / len(spans)
    assert 0.40 <= share <= 0.55
    assert f"{100 * share:.0f} % of its span occurrences" in (DATA / "README.md").read_text(encoding="utf-8")
    for label in SPAN_LABELS:
        own = [span for span in spans if span[1] == label]
        assert 0.35 <= sum(span not in seen for span in own) / len(own) <= 0.60, label


@pytest.mark.parametrize("split", LABELLED)
def test_every_split_has_every_label_and_type(split: str) -> None:
    assert {span["label"] for record in records(split) for span in record["spans"]} == SPAN_LABELS
    assert {label for record in records(split) for label in record["labels"]} == set(LABELS)
    assert {record["note_type"] for record in records(split)} == NOTE_TYPES
    assert all(record["note_type"] == record["meta"]["note_type"] for record in records(split))
    assert any(not record["labels"] for record in records(split))


def test_only_affirmed_problems_of_the_patient_give_a_label() -> None:
    known, withheld = categories(), 0
    for split in LABELLED:
        for record in records(split):
            affirmed, other = set(), set()
            for span in record["spans"]:
                if span["label"] == "PROBLEM":
                    category = known.get(surface(record, span).casefold(), "")
                    (other if "attributes" in span else affirmed).add(category)
            assert set(record["labels"]) == affirmed - {""}, record["id"]
            withheld += bool(other - affirmed - {""})
    assert withheld >= 100  # notes in which a negated, uncertain or family condition is no label


def test_one_surface_has_one_note_label() -> None:
    by_surface: dict[str, set[str]] = {}
    for _, term in all_terms():
        if term.kind in ("dx", "ac", "sx", "sg", "fi", "fx"):
            by_surface.setdefault(term.surface.casefold(), set()).add(term.category)
    assert [name for name, labels in by_surface.items() if len(labels) > 1] == []


def test_the_vocabulary_is_wide() -> None:
    kinds = Counter(kind for kind, _ in {(term.kind, term.surface) for _, term in all_terms()})
    assert sum(kinds[kind] for kind in ("dx", "ac", "sx", "sg", "fi", "fx")) >= 140
    assert sum(kinds[kind] for kind in ("home", "abx", "prn", "drip", "acute", "alg", "cls")) >= 120
    assert sum(kinds[kind] for kind in ("lab", "img", "proc", "cul")) >= 60
    assert kinds["anat"] >= 60


@pytest.mark.parametrize("split", SPLITS)
def test_line_ends_lengths_and_placeholders_vary(split: str) -> None:
    texts = [record["text"] for record in records(split)]
    lengths = [len(text.split()) for text in texts]
    assert 0.08 <= sum("\r\n" in text for text in texts) / len(texts) <= 0.15
    assert all(text.count("\n") == text.count("\r\n") for text in texts if "\r" in text)
    assert min(lengths) <= 12 and 1_500 <= max(lengths) <= 3_000
    everything = "\n".join(texts)
    for wanted in ("___", "[**", "\u00a0", "µ", "≥"):
        assert wanted in everything


@pytest.mark.parametrize(
    ("word", "labels"),
    [("cold", {"", "PROBLEM"}), ("discharge", {"", "PROBLEM"}), ("CT", {"", "TEST"}), ("potassium", {"", "TEST"})],
)
def test_some_words_are_entities_in_one_place_and_not_in_another(word: str, labels: set[str]) -> None:
    found = set()
    for split in LABELLED:
        for record in records(split):
            for match in re.finditer(rf"(?<!\w){word}(?!\w)", record["text"]):
                inside = [s["label"] for s in record["spans"] if s["start"] <= match.start() < s["end"]]
                found.add(inside[0] if inside else "")
    assert labels <= found


def test_the_readme_states_the_counts() -> None:
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    assert generate.table({split: list(records(split)) for split in SPLITS}) in readme


def test_the_readme_states_the_dictionary_baseline() -> None:
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    for split in ("dev", "test"):
        precision, recall, f1 = baseline.measure(DATA / "notes", split)["micro"]
        assert f"| {split} | micro | {precision:.3f} | {recall:.3f} | {f1:.3f} |" in readme
    assert f1 < 0.65


def test_the_baseline_counts_by_hand(tmp_path: Path) -> None:
    train = {"id": "a", "text": "Has gout. No gout. Took aspirin.", "spans": []}
    train["spans"] = [
        {"start": 4, "end": 8, "label": "PROBLEM"},
        {"start": 13, "end": 17, "label": "PROBLEM"},
        {"start": 24, "end": 31, "label": "MEDICATION"},
    ]
    held_out = {"id": "b", "text": "Gout and fever, aspirin allergy clinic", "spans": []}
    held_out["spans"] = [{"start": 0, "end": 4, "label": "PROBLEM"}, {"start": 9, "end": 14, "label": "PROBLEM"}]
    for name, record in (("train", train), ("test", held_out)):
        (tmp_path / f"{name}.jsonl").write_bytes(generate.to_bytes([record]))
    rows = baseline.measure(tmp_path, "test")
    assert rows["micro"] == (1 / 2, 1 / 2, 1 / 2)
    assert rows["PROBLEM"] == (1.0, 1 / 2, 2 / 3)
