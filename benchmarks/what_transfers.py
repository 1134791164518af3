"""What transfers to what: small encoders made from nothing on five kinds of text, then two tasks at 100 documents.

    python benchmarks/what_transfers.py --corpora CORPORA --seeds 1 2 3

Each encoder (the architecture of clinnlp-mini) has a vocabulary of its own text and reads the same number of tokens of
about a million characters: plays (Shakespeare), an encyclopedia (WikiText-2), abstracts (BC5CDR), case reports (E3C),
clinical notes (MTSamples). `random` has the vocabulary of the notes and random weights. Then all weights are fine-tuned
on the 100 abstracts and 100 notes of objectives.py, with the same steps and rates. Finished cells under OUT are kept.
"""

import argparse
import itertools
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cells
from objectives import TASKS, prepare
from transfer import random_weights

CORPORA = ("plays", "encyclopedia", "abstracts", "case_reports", "notes")
CHARACTERS, PART = 1_000_000, 1500  # of each corpus; plays and articles are cut into parts of about so many
BLOCK, BATCH = 128, 16


def texts(name: str, corpora: Path, out: Path) -> Iterator[str]:
    """The texts of a corpus."""
    if name == "plays":
        yield from parts((corpora / "general_shakespeare" / "input.txt").read_text(encoding="utf-8"))
    elif name == "encyclopedia":
        folder = corpora / "general_wikitext2"
        yield from parts("\n".join((folder / f"{part}.txt").read_text(encoding="utf-8") for part in ("valid", "test")))
    else:
        file = {"abstracts": out / "bc5cdr.jsonl", "notes": out / "mtsamples.jsonl",
                "case_reports": corpora / "e3c_en_text" / "e3c_en_ccby_unlabelled.jsonl"}[name]  # fmt: skip
        with file.open(encoding="utf-8") as lines:
            yield from (json.loads(line)["text"] for line in lines)


def parts(text: str) -> Iterator[str]:
    """A long text cut at ends of lines."""
    held = ""
    for line in text.splitlines(keepends=True):
        held += line
        if len(held) >= PART:
            yield held
            held = ""


def corpus(name: str, args: argparse.Namespace) -> Path:
    """The first texts of a corpus as JSON Lines, about a million characters."""
    path: Path = args.out / f"{name}-{CHARACTERS}.jsonl"
    whole = list(texts(name, args.corpora, args.out))
    kept = [text for text, before in zip(whole, itertools.accumulate(map(len, whole), initial=0), strict=False)
            if before < CHARACTERS]  # fmt: skip
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"id": f"{name}-{n}", "text": text}) + "\n" for n, text in enumerate(kept))
    return path


def encoder(name: str, args: argparse.Namespace) -> Path:
    """The run of pretraining on a corpus."""
    return cells.clinnlp("pretrain", args.out / f"made-of-{name}", {
        "base": "null", "data.train": corpus(name, args), "block": BLOCK, "fit.batch": BATCH, "fit.epochs": 1000,
        "fit.max_steps": args.tokens // (BLOCK * BATCH), "fit.learning_rate": 1e-3, "seed": 1,
    })  # fmt: skip


def scores(name: str, base: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The test scores of an encoder in both tasks."""
    found: dict[str, Any] = {}
    for task, settings in TASKS.items():
        seeds = {}
        for seed in args.seeds:
            run = cells.clinnlp("finetune", args.out / f"transfers-{name}-{task}-{seed}", {
                "base": base, "seed": seed, "strategy": "full", "fit.batch": 8, "fit.epochs": 1000,
                "fit.evaluations": 4, "fit.patience": 0, "data.unknown_labels": "miss", **settings,
                "fit.learning_rate": 3e-4, "fit.max_steps": args.steps,
                **{f"data.{part}": args.out / f"{task}-{part}.jsonl" for part in ("train", "dev", "test")},
            })  # fmt: skip
            metrics = cells.read(run / "metrics.json")
            micro = (metrics["entity"]["strict"] if task == "ncbi" else metrics["notes"])["micro"]
            seeds[seed] = {key: micro[key] for key in ("f1", "f1_interval")}
        f1 = [cell["f1"] for cell in seeds.values()]
        found[task] = {"seeds": seeds, "mean": statistics.mean(f1), "sd": statistics.stdev(f1) if f1[1:] else None}
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    args = parser.parse_args()
    prepare(args.corpora, args.out)
    arms: dict[str, Any] = {}
    for name in CORPORA:
        run = encoder(name, args)
        told = cells.read(run / "metrics.json")["pretraining"]
        arms[name] = {"pretraining": {key: told[key] for key in ("steps", "train_seconds")}}
        arms[name] |= scores(name, run / "model", args)
    arms["random"] = scores("random", random_weights(args.out / "made-of-notes" / "model", args.out / "random"), args)
    cells.write("what-transfers", {"tokens": args.tokens, "steps": args.steps, "arms": arms})


if __name__ == "__main__":
    main()
