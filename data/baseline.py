"""How far a dictionary gets: `python data/baseline.py` looks the train spans up in the test notes, strict F1."""

import argparse
import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

SpanKey = tuple[str, int, int, str]


def load(path: Path) -> list[dict[str, Any]]:
    """The records of a jsonl file."""
    return [json.loads(line) for line in path.read_bytes().decode("utf-8").split("\n") if line]


def gold(records: list[dict[str, Any]]) -> set[SpanKey]:
    """Every span as (document id, start, end, label)."""
    return {(record["id"], span["start"], span["end"], span["label"]) for record in records for span in record["spans"]}


def dictionary(records: list[dict[str, Any]]) -> dict[str, str]:
    """Surface (casefolded) -> most frequent label, for surfaces annotated in at least half of their occurrences."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        for span in record["spans"]:
            seen[record["text"][span["start"] : span["end"]].casefold()][span["label"]] += 1
    everything = "\n".join(record["text"].casefold() for record in records)
    kept = {}
    for surface, labels in seen.items():
        occurrences = len(re.findall(rf"(?<!\w){re.escape(surface)}(?!\w)", everything))
        if labels.total() >= occurrences / 2:
            kept[surface] = min(labels, key=lambda label: (-labels[label], label))
    return kept


def look_up(words: dict[str, str], records: list[dict[str, Any]]) -> set[SpanKey]:
    """The longest dictionary matches of each document, from left to right."""
    longest_first = sorted(words, key=lambda surface: (-len(surface), surface))
    pattern = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)")
    found = set()
    for record in records:
        for match in pattern.finditer(record["text"].lower()):
            found.add((record["id"], match.start(), match.end(), words[match.group().casefold()]))
    return found


def scores(wanted: set[SpanKey], found: set[SpanKey]) -> tuple[float, float, float]:
    """Strict precision, recall and F1; not a number where nothing is counted."""
    right = len(wanted & found)
    nan = float("nan")
    precision = right / len(found) if found else nan
    recall = right / len(wanted) if wanted else nan
    return precision, recall, 2 * right / (len(found) + len(wanted)) if found or wanted else nan


def measure(folder: Path, split: str) -> dict[str, tuple[float, float, float]]:
    """The scores of the dictionary of train on a split, for each label and together."""
    records = load(folder / f"{split}.jsonl")
    wanted, found = gold(records), look_up(dictionary(load(folder / "train.jsonl")), records)
    rows = {"micro": scores(wanted, found)}
    for label in sorted({key[3] for key in wanted}):
        rows[label] = scores({k for k in wanted if k[3] == label}, {k for k in found if k[3] == label})
    return rows


def main() -> None:
    """Print the scores on dev and test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notes", type=Path, default=Path(__file__).parent / "notes", help="folder of the jsonl files")
    options = parser.parse_args()
    print("| split | label | precision | recall | strict F1 |\n|---|---|---:|---:|---:|")
    for split in ("dev", "test"):
        for label, row in measure(options.notes, split).items():
            print(f"| {split} | {label} | " + " | ".join(f"{figure:.3f}" for figure in row) + " |")


if __name__ == "__main__":
    main()
