"""What twelve trials of `tune` gain over the defaults: NCBI-disease, dev decides, test is scored once for each.

    python benchmarks/tuning.py --corpora CORPORA --base DIR --documents 592 --trials 12

The defaults are the settings that the tuning begins with; both are scored on the official test split by a run of their
own, with intervals and a test of the difference by `compare`. Finished runs in OUT are not repeated, and a tuning that
was stopped goes on.
"""

import argparse
from pathlib import Path

import cells
from selection import ncbi

SPACE = "{fit.learning_rate: [2.0e-4, 5.0e-4, 1.0e-3], strategy.rank: [8, 16, 64], fit.epochs: [10, 20, 40]}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=592)
    parser.add_argument("--held-out", type=int, default=100, help="dev and test documents")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--space", default=SPACE)
    parser.add_argument("--epochs", type=int, default=20, help="of the defaults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/tuning"))
    args = parser.parse_args()
    data = ncbi(args.corpora, args.out, {"train": args.documents, "dev": args.held_out, "test": args.held_out})
    defaults = {
        "base": args.base, "seed": args.seed, "data.train": data["train"], "data.dev": data["dev"],
        "task.window": 256, "task.overlap": 64, "strategy": "lora", "strategy.rank": 16, "fit.learning_rate": 5e-4,
        "fit.epochs": args.epochs, "fit.batch": 16, "fit.evaluations": 10,
    }  # fmt: skip
    tuned = {**defaults, "trials": args.trials, "space": args.space, "refit": "false"}
    tuning = cells.clinnlp("tune", args.out / "tune", tuned)
    before = cells.clinnlp("finetune", args.out / "defaults", {**defaults, "data.test": data["test"]})
    best = {"data.test": data["test"]}
    after = cells.clinnlp("finetune", args.out / "tuned", best, str(tuning / "best.yaml"))
    compared = cells.clinnlp("compare", args.out / "compared", {}, str(after), str(before))
    told, manifest = cells.read(tuning / "metrics.json"), cells.read(tuning / "manifest.json")
    dev = {one["number"]: one["score"] for one in told["trials"]}
    test = {name: cells.read(run / "metrics.json")["entity"]["strict"]["micro"] for name, run in
            (("defaults", before), ("tuned", after))}  # fmt: skip
    result = {
        "documents": args.documents, "seconds": manifest["facts"]["seconds"],
        "dev": {"defaults": dev.get(1), "tuned": dev[told["best"]]},
        "test": {name: {key: micro[key] for key in ("f1", "f1_interval")} for name, micro in test.items()},
        "compared": cells.read(compared / "metrics.json")["entity"],
        "best": told["trials"][told["best"] - 1]["values"], "trials": told["trials"],
    }  # fmt: skip
    cells.write(f"tuning-ncbi-{args.documents}", result)


if __name__ == "__main__":
    main()
