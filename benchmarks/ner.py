"""Entity extraction: clinnlp with LoRA and with all weights, beside a plain Trainer script, on official splits.

    python benchmarks/ner.py ncbi --corpora CORPORA --base DIR --seeds 1 2 3 --out runs/bench
    python benchmarks/ner.py bc5cdr --corpora CORPORA --base DIR --seeds 1 --out runs/bench

Each cell (arm, seed) is a run folder under OUT and is not repeated if it is there; the table of all finished
cells goes to benchmarks/results/ner-CORPUS.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import cells

CORPORA = {"ncbi": "mtl_bio/NCBI-disease-IOB", "bc5cdr": "mtl_bio/BC5CDR-IOB"}
# usual rates and lengths for a base of this size (6 x 384); a grid on dev is still to be run
ARMS = {
    "full": ["--strategy", "full", "--fit.learning_rate", "2e-4", "--fit.epochs", "6"],
    "lora": ["--strategy", "lora", "--strategy.head_learning_rate", "1e-3", "--fit.learning_rate", "1e-3",
             "--fit.epochs", "10"],
    "plain": [],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", choices=sorted(CORPORA))
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    args = parser.parse_args()
    done = {}
    for seed in args.seeds:
        for arm in args.arms:
            folder = args.out / f"ner-{args.corpus}-{arm}-{seed}"
            if not (folder / "metrics.json").exists():
                subprocess.run(command(args, arm, seed, folder), check=True)
            done[f"{arm} {seed}"] = cell(folder)
    write(args.corpus, done)


def command(args: argparse.Namespace, arm: str, seed: int, folder: Path) -> list[str]:
    folder_of = args.corpora / CORPORA[args.corpus]
    files = {"train": folder_of / "train.tsv", "dev": folder_of / "devel.tsv", "test": folder_of / "test.tsv"}
    if arm == "plain":
        named = [word for name, path in files.items() for word in (f"--{name}", str(path))]
        script = str(Path(__file__).with_name("plain_ner.py"))
        return [sys.executable, script, "--base", args.base, "--seed", str(seed), "--out", str(folder), *named]
    named = [word for name, path in files.items() for word in (f"--data.{name}", str(path))]
    return [
        sys.executable, "-m", "clinnlp", "finetune", "--base", args.base, "--data.format", "conll",
        "--seed", str(seed), "--out", str(folder), *named, *ARMS[arm],
    ]  # fmt: skip


def cell(folder: Path) -> dict[str, Any]:
    metrics = json.loads((folder / "metrics.json").read_text())
    strict = metrics["entity"]["strict"]
    scores = {"f1": strict["micro"]["f1"], "interval": strict["micro"]["f1_interval"]}
    scores["per_label"] = {label: values["f1"] for label, values in strict["per_label"].items()}
    if (folder / "training.json").exists():
        history = json.loads((folder / "training.json").read_text())["history"]
        seconds = json.loads((folder / "manifest.json").read_text())["facts"]["train seconds"]
    else:
        history, seconds = metrics["training"]["history"], metrics["training"]["seconds"]
    dev = [{"seconds": h["seconds"], "f1": h["score"]} for h in history if "score" in h]
    return {**scores, "train_seconds": seconds, "dev": dev}


def write(corpus: str, cells_of: dict[str, dict[str, Any]]) -> None:
    arms: dict[str, Any] = {}
    for arm in sorted({name.split()[0] for name in cells_of}):
        f1 = [values["f1"] for name, values in cells_of.items() if name.split()[0] == arm]
        arms[arm] = {"mean_f1": statistics.mean(f1), "sd": statistics.stdev(f1) if len(f1) > 1 else None}
    cells.write(f"ner-{corpus}", {"settings": ARMS, "arms": arms, "cells": cells_of})


if __name__ == "__main__":
    main()
