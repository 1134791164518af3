"""Writes the synthetic sample notes: `python data/generate.py --seed 7 --out data`; the same seed, the same bytes."""

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from notegen import book_test, book_train
from notegen.compose import Plan, long_sentences, write_note
from notegen.facts import Book, make_patient
from notegen.lexicon import Lexicon, lexicon

SIZES = {"train": 240, "dev": 60, "test": 90, "unlabelled": 300}
LONG = {"train": 4, "dev": 1, "test": 3, "unlabelled": 3}
FIRST_PATIENT = {"train": 1, "dev": 200, "test": 300, "unlabelled": 400}
NOTE_TYPES = (
    "discharge_summary",
    "progress_note",
    "progress_note",
    "radiology_report",
    "radiology_report",
    "emergency_visit",
    "emergency_visit",
    "medication_list",
    "nursing_note",
)


def lexicon_of(split: str) -> Lexicon:
    """The words a split may use."""
    return {
        "train": lexicon("sa", withhold=True),
        "dev": lexicon("sa"),
        "test": lexicon("ssab", withhold=True),
        "unlabelled": lexicon("sab"),
    }[split]


def book_of(split: str, rng: Random) -> Book:
    """The templates of a note: one book for train and dev, one for test, a mixture for the unlabelled notes."""
    train, test = book_train.BOOK, book_test.BOOK
    if split != "unlabelled":
        return test if split == "test" else train
    book, other = (train, test) if rng.random() < 0.5 else (test, train)
    return replace(book, style=other.style, headings=other.headings, bullets=other.bullets)


def plans(split: str, rng: Random) -> list[Plan]:
    """The type, length and line ends of each note of a split, in order."""
    made = []
    for number in range(SIZES[split]):
        note_type = NOTE_TYPES[number % len(NOTE_TYPES)]
        length = "brief" if rng.random() < 0.1 else ""
        made.append(Plan(note_type, length, crlf=number % 8 == 3))
    stays = [plan for plan in made if plan.note_type in ("discharge_summary", "progress_note")]
    for plan in rng.sample(stays, LONG[split]):
        plan.length = "long"
    rng.shuffle(made)
    return made


def make_split(split: str, seed: int, forbidden: set[str], seen: set[str]) -> list[dict[str, Any]]:
    """The records of a split; a text that was written before is written anew."""
    rng = Random(f"{seed}/{split}")
    words, person = lexicon_of(split), FIRST_PATIENT[split]
    records: list[dict[str, Any]] = []
    queue = plans(split, rng)
    while queue:
        patient = make_patient(rng, person, words)
        person += 1
        for _ in range(min(rng.choice((1, 2, 3, 3, 4, 5)), len(queue))):
            plan = replace(queue.pop(), forbidden=forbidden)
            record = write_note(rng, words, patient, book_of(split, rng), plan)
            while record["text"] in seen or not record["text"].strip():
                record = write_note(rng, words, patient, book_of(split, rng), plan)
            seen.add(record["text"])
            records.append({"id": f"{split}-{len(records) + 1:04d}", **record})
    return records


def make_all(seed: int) -> dict[str, list[dict[str, Any]]]:
    """All splits; the unlabelled notes say no longer sentence of a dev or test note."""
    seen: set[str] = set()
    made = {split: make_split(split, seed, set(), seen) for split in ("train", "dev", "test")}
    held_out = {s for split in ("dev", "test") for record in made[split] for s in long_sentences(record["text"])}
    unlabelled = make_split("unlabelled", seed, held_out, seen)
    made["unlabelled"] = [{key: record[key] for key in ("id", "text", "group")} for record in unlabelled]
    return made


def to_bytes(records: Iterable[dict[str, Any]]) -> bytes:
    """JSON lines in UTF-8 with \\n between records whatever the platform."""
    lines = (json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n" for record in records)
    return "".join(lines).encode("utf-8")


def table(made: dict[str, list[dict[str, Any]]]) -> str:
    """The counts of every split as the Markdown table of data/README.md."""
    columns = list(made)
    counts: dict[str, dict[str, int]] = {}
    for split, records in made.items():
        tally = Counter({"notes": len(records), "patients": len({record["group"] for record in records})})
        tally["words"] = sum(len(record["text"].split()) for record in records)
        tally["notes over 1,500 words"] = sum(len(record["text"].split()) >= 1500 for record in records)
        tally["notes with CRLF"] = sum("\r\n" in record["text"] for record in records)
        for record in records:
            tally.update([f"type `{record['note_type']}`"] if "note_type" in record else [])
            tally.update(f"label `{label}`" for label in record.get("labels", []))
            tally["notes without label"] += record.get("labels") == []
            tally.update(f"span `{span['label']}`" for span in record.get("spans", []))
            tally.update(f"PROBLEM {next(iter(s['attributes']))}" for s in record.get("spans", []) if "attributes" in s)
        counts[split] = tally
    first = ["notes", "patients", "words", "notes over 1,500 words", "notes with CRLF"]
    rest = sorted({name for tally in counts.values() for name in tally} - set(first))
    lines = ["| count | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for name in first + rest:
        lines.append(f"| {name} | " + " | ".join(f"{counts[split][name]:,}" for split in columns) + " |")
    return "\n".join(lines)


def main() -> None:
    """Write OUT/notes/SPLIT.jsonl and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="any whole number; the committed files were made with 7")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder that gets notes/")
    options = parser.parse_args()
    made = make_all(options.seed)
    folder = options.out / "notes"
    folder.mkdir(parents=True, exist_ok=True)
    for split, records in made.items():
        (folder / f"{split}.jsonl").write_bytes(to_bytes(records))
    print(table(made))


if __name__ == "__main__":
    main()
