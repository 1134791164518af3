"""What pretraining is worth with few labels: entity extraction from 1,000 training sentences (about 100 abstracts).

    python benchmarks/transfer.py --corpora CORPORA --base DIR --adapted runs/adapted/model --seeds 1 2 3

Arms: the base's architecture with random weights, clinnlp-mini, the base, and the base after continued pretraining.
All weights move, each arm with the same steps; dev chooses the weights; strict F1 on the official test split.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import cells

SENTENCES = 1000


def random_weights(base: str, folder: Path) -> Path:
    """A folder with the base's architecture and tokenizer, and random weights."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer, set_seed

    if not folder.exists():
        set_seed(1)
        AutoModel.from_config(AutoConfig.from_pretrained(base)).save_pretrained(folder)
        AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def first_sentences(source: Path, target: Path) -> Path:
    """The first sentences of a CoNLL file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    sentences = source.read_bytes().decode().split("\n\n")[:SENTENCES]
    target.write_bytes(("\n\n".join(sentences) + "\n").encode())
    return target


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--adapted", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=630)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    args = parser.parse_args()
    corpus = args.corpora / "mtl_bio" / "NCBI-disease-IOB"
    train = first_sentences(corpus / "train.tsv", args.out / "transfer-train.tsv")
    arms = {
        "random": str(random_weights(args.base, args.out / "random-base")),
        "clinnlp-mini": "clinnlp-mini",
        "base": args.base,
        "base, adapted": args.adapted,
    }
    scores: dict[str, list[float]] = {name: [] for name in arms}
    for seed in args.seeds:
        for name, base in arms.items():
            folder = args.out / f"transfer-{name.replace(', ', '-')}-{seed}"
            run = cells.clinnlp("finetune", folder, {
                "base": base, "seed": seed, "strategy": "full", "data.format": "conll", "data.train": train,
                "data.dev": corpus / "devel.tsv", "data.test": corpus / "test.tsv", "fit.learning_rate": 2e-4,
                "fit.max_steps": args.steps, "fit.epochs": 100, "fit.evaluations": 5, "fit.patience": 0,
            })  # fmt: skip
            scores[name].append(cells.read(run / "metrics.json")["entity"]["strict"]["micro"]["f1"])
    table: dict[str, Any] = {
        name: {"f1": f1, "mean": statistics.mean(f1), "sd": statistics.stdev(f1) if len(f1) > 1 else None}
        for name, f1 in scores.items()
    }
    cells.write("transfer-ncbi-1000-sentences", {"steps": args.steps, "arms": table})


if __name__ == "__main__":
    main()
