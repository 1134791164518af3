"""What pretraining is worth with few labels: entity extraction from 1,000 training sentences (about 100 abstracts).

    python benchmarks/transfer.py --corpora CORPORA --base DIR --adapted runs/adapted/model --seeds 1 2 3

Arms: the base's architecture with random weights, that of clinnlp-mini with random weights, clinnlp-mini, the base, and
the base after continued pretraining. All weights move, each arm with the same steps and rate; dev chooses the weights;
strict F1 on the official test split. Finished cells under OUT are not repeated; the table holds those that are there.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import cells

from clinnlp.models.folder import MINI, base_folder

SENTENCES = 1000


def random_weights(base: Path | None, folder: Path) -> Path:
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
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapted", type=Path, default=Path("runs/adapted/model"))
    parser.add_argument("--arms", nargs="+", default=["random", "random-mini", "mini", "base", "adapted"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=630)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    args = parser.parse_args()
    corpus = args.corpora / "mtl_bio" / "NCBI-disease-IOB"
    train = first_sentences(corpus / "train.tsv", args.out / "transfer-train.tsv")
    for seed in args.seeds:
        for arm in args.arms:
            cells.clinnlp("finetune", args.out / f"transfer-{arm}-{seed}", {
                "base": base_of(arm, args), "seed": seed, "strategy": "full", "data.format": "conll",
                "data.train": train, "data.dev": corpus / "devel.tsv", "data.test": corpus / "test.tsv",
                "fit.learning_rate": 2e-4, "fit.max_steps": args.steps, "fit.epochs": 100, "fit.evaluations": 5,
                "fit.patience": 0,
            })  # fmt: skip
    cells.write("transfer-ncbi-1000-sentences", {"steps": args.steps, "arms": table(args.out)})


def base_of(arm: str, args: argparse.Namespace) -> Path | str:
    """The base model of an arm."""
    if arm == "random":
        return random_weights(args.base, args.out / "random-base")
    if arm == "random-mini":
        return random_weights(base_folder(MINI), args.out / "random-mini-base")
    return {"mini": "clinnlp-mini", "base": args.base, "adapted": args.adapted}[arm]


def table(out: Path) -> dict[str, Any]:
    """F1 of the finished cells by arm and seed, with mean, standard deviation and the interval of each."""
    arms: dict[str, Any] = {}
    for folder in sorted(out.glob("transfer-*-?")):
        if cells.finished(folder):
            arm, seed = folder.name.removeprefix("transfer-").rsplit("-", 1)
            micro = cells.read(folder / "metrics.json")["entity"]["strict"]["micro"]
            arms.setdefault(arm, {"seeds": {}})["seeds"][seed] = {k: micro[k] for k in ("f1", "f1_interval")}
    for values in arms.values():
        f1 = [cell["f1"] for cell in values["seeds"].values()]
        values |= {"mean": statistics.mean(f1), "sd": statistics.stdev(f1) if len(f1) > 1 else None}
    return arms


if __name__ == "__main__":
    main()
