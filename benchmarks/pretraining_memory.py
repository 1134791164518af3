"""Peak memory and time of getting a large corpus ready for pretraining: read, made distinct, tokenized, packed.

    python benchmarks/pretraining_memory.py --megabytes 100 1000 --out runs/bench

Notes of made-up words, about 3,000 characters each, a tenth of them copies; one training step of clinnlp-mini. The
peak is that of the process as the system counts it, which includes pages of mapped files that it may take back.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cells

from clinnlp.text.canaries import WORDS


def corpus(path: Path, megabytes: int) -> Path:
    """Notes as JSON Lines until the file has its size."""
    if path.exists():
        return path
    draw = random.Random(1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        size = number = 0
        text = ""
        while size < megabytes * 1e6:
            if number % 10 or not text:
                text = " ".join(draw.choices(WORDS, k=470))
            size += file.write(json.dumps({"id": str(number), "text": text}) + "\n")
            number += 1
    return path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", nargs="+", type=int, default=[100, 1000])
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    args = parser.parse_args()
    found: dict[str, Any] = {}
    for megabytes in args.megabytes:
        notes = corpus(args.out / f"corpus-{megabytes}.jsonl", megabytes)
        out = args.out / f"pretraining-memory-{megabytes}-{time.time_ns()}"
        words = ["--base", "clinnlp-mini", "--data.train", str(notes), "--fit.max_steps", "1", "--held_out_notes", "20"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "clinnlp", "pretrain", *words, "--out", str(out)], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = cells.read(out / "metrics.json")["pretraining"]
        found[f"{megabytes} MB"] = {
            "notes": cells.read(out / "manifest.json")["facts"]["notes"], "tokens": told["tokens"],
            "seconds": round(time.perf_counter() - begun, 1),
            "processor_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
            "peak_megabytes": round(after.ru_maxrss / 1e3),
        }  # fmt: skip
    cells.write("pretraining-memory", {"corpora": found})


if __name__ == "__main__":
    main()
