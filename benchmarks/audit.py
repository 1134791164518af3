"""How fast `clinnlp audit` is, and whether its time grows in step with the notes.

    python benchmarks/audit.py --notes 20000 40000

Synthetic short notes: 60 to 140 words of a Zipf distribution, three notes a patient, two spans and one of ten labels
each; one in twenty is copied from an earlier note, and one in twenty copied with a changed word. `templated` notes are
the worst case for near-duplicates: 20 templates of 100 words in which three words differ from note to note, so that
most notes of a template are alike to about 0.6. Each size is one process of the command line; times are processor
seconds of that process, with one thread, and the seconds on the clock.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cells

VOCABULARY = 30_000


def notes(count: int, draw: random.Random) -> Iterator[dict[str, Any]]:
    weights = [1 / (rank + 3) for rank in range(VOCABULARY)]
    total, sums = 0.0, []
    for weight in weights:
        total += weight
        sums.append(total)
    vocabulary = [f"w{rank}" for rank in range(VOCABULARY)]
    kept: list[list[str]] = []
    for number in range(count):
        kind = draw.random()
        if kind < 0.1 and kept:
            words = list(draw.choice(kept))
            if kind < 0.05:
                words[draw.randrange(len(words))] = "changed"
        else:
            words = draw.choices(vocabulary, cum_weights=sums, k=draw.randint(60, 140))
        if len(kept) < 5_000:
            kept.append(words)
        yield record(number, words, draw)


def templated(count: int, draw: random.Random) -> Iterator[dict[str, Any]]:
    vocabulary = [f"w{rank}" for rank in range(VOCABULARY)]
    templates = [draw.choices(vocabulary, k=100) for _ in range(20)]
    for number in range(count):
        words = list(templates[number % 20])
        for _ in range(3):
            words[draw.randrange(100)] = draw.choice(vocabulary)
        yield record(number, words, draw)


def record(number: int, words: list[str], draw: random.Random) -> dict[str, Any]:
    places = sorted(draw.sample(range(len(words)), 2))
    starts = [sum(len(word) + 1 for word in words[:place]) for place in places]
    spans = [
        {"start": start, "end": start + len(words[place]), "label": draw.choice("XYZ")}
        for start, place in zip(starts, places, strict=True)
    ]
    labels = [f"label {draw.randrange(10)}"]
    return {"id": str(number), "text": " ".join(words), "spans": spans, "labels": labels, "group": str(number // 3)}


def measured(kind: str, count: int) -> dict[str, Any]:
    """One audit of so many notes, a tenth of them as test."""
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "notes.jsonl"
        with path.open("w") as file:
            for note in {"notes": notes, "templated": templated}[kind](count, draw):
                file.write(json.dumps(note) + "\n")
        characters = path.stat().st_size
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "clinnlp", "audit", "--data.train", str(path), "--data.test_share", "0.1",
             "--out", f"{folder}/out"],
            check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"},
        )  # fmt: skip
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        found = json.loads((Path(folder) / "out" / "metrics.json").read_text())["audit"]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    near = found["duplicates"]["near"]
    return {
        "kind": kind, "notes": count, "megabytes": round(characters / 1e6, 1), "cpu_seconds": round(cpu, 1),
        "seconds": round(seconds, 1), "notes_per_cpu_second": round(count / cpu),
        "peak_megabytes_so_far": round(after.ru_maxrss / 1e3), "near_sets": near["sets"], "largest": near["largest"],
        "repeated": sum(row["repeated"] for row in found["duplicates"]["verbatim"]["within"].values()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--notes", type=int, nargs="+", default=[20_000, 40_000])
    parser.add_argument("--kinds", nargs="+", default=["notes", "templated"])
    parser.add_argument("--name", default="audit-speed")
    args = parser.parse_args()
    rows = [measured(kind, count) for kind in args.kinds for count in sorted(args.notes)]
    for row in rows:
        print(row)
    for (
        kind
    ) in args.kinds:  # label noise is looked for in 20,000 notes: what further notes cost is the rate that counts
        some = [row for row in rows if row["kind"] == kind]
        for a, b in pairwise(some):
            b["milliseconds_per_further_note"] = round(
                1e3 * (b["cpu_seconds"] - a["cpu_seconds"]) / (b["notes"] - a["notes"]), 3
            )
    cells.write(args.name, {"rows": rows})


if __name__ == "__main__":
    main()
