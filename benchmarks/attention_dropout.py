"""What dropout of attention weights costs and is worth: steps of fine-tuning, and scores of two tasks at 100 documents.

    python benchmarks/attention_dropout.py --corpora CORPORA --base DIR --rounds 5 --seeds 1 2 3

Speed: entity extraction on abstracts of NCBI-disease in batches of 8, every arm once a round, in turn; train seconds by
the clock, one dev abstract scored at the end included; the ratio is the median of those within a round. Scores: the
tasks of objectives.py, all weights, each seed with it and without. Finished cells under OUT are not repeated.
"""

import argparse
import statistics
from itertools import product
from pathlib import Path
from typing import Any

import cells
from compare_runs import differences
from objectives import TASKS, ncbi_part, prepare

from clinnlp.formats.base import write
from clinnlp.formats.jsonl import Jsonl

DROPPED = ("true", "false")


def speed(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of so many steps with it and without, by strategy and precision."""
    parts = {"train": ncbi_part(args.corpora, "train")[:160], "dev": ncbi_part(args.corpora, "devel")[:1]}
    for name, documents in parts.items():
        write(documents, args.out / f"speed-{name}.jsonl", Jsonl())
    arms: dict[str, Any] = {}
    for strategy, precision in product(args.strategies, args.precisions):
        seconds: dict[str, list[float]] = {dropped: [] for dropped in DROPPED}
        for number, dropped in product(range(args.rounds), DROPPED):
            run = cells.clinnlp("finetune", args.out / f"{strategy}-{precision}-{dropped}-{number}", {
                "base": args.base, "strategy": strategy, "fit.precision": precision, "fit.attention_dropout": dropped,
                "fit.batch": 8, "fit.max_steps": args.steps, "fit.epochs": 100, "fit.evaluations": 1, "seed": 1,
                "data.unknown_labels": "miss", **{f"data.{part}": args.out / f"speed-{part}.jsonl" for part in parts},
            })  # fmt: skip
            seconds[dropped].append(cells.read(run / "manifest.json")["facts"]["train seconds"])
        ratios = [slow / fast for slow, fast in zip(seconds["true"], seconds["false"], strict=True)]
        arms[f"{strategy}, {precision}"] = {
            "seconds_with": statistics.median(seconds["true"]), "seconds_without": statistics.median(seconds["false"]),
            "ratio": statistics.median(ratios), "ratios": sorted(round(ratio, 2) for ratio in ratios),
        }  # fmt: skip
    return arms


def scores(task: str, settings: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Test micro F1 and train seconds of each seed with it and without, and the difference of the two arms."""
    found: dict[str, dict[int, Any]] = {dropped: {} for dropped in DROPPED}
    for seed, dropped in product(args.seeds, DROPPED):
        run = cells.clinnlp("finetune", args.out / f"{task}-{dropped}-{seed}", {
            "base": args.base, "seed": seed, "strategy": "full", "fit.batch": 8, "fit.epochs": 100,
            "fit.evaluations": 4, "fit.patience": 0, "data.unknown_labels": "miss", **settings,
            "fit.attention_dropout": dropped,
            **{f"data.{part}": args.out / f"{task}-{part}.jsonl" for part in ("train", "dev", "test")},
        })  # fmt: skip
        metrics = cells.read(run / "metrics.json")
        micro = (metrics["entity"]["strict"] if task == "ncbi" else metrics["notes"])["micro"]
        spent = cells.read(run / "manifest.json")["facts"]["train seconds"]
        found[dropped][seed] = {"f1": micro["f1"], "train_seconds": spent}
    runs = [str(args.out / f"{task}-{dropped}-{seed}") for dropped, seed in product(DROPPED, args.seeds)]
    arms = ",".join(dropped for dropped in ("with", "without") for _ in args.seeds)
    compared = cells.clinnlp("compare", args.out / f"compare-{task}-{len(args.seeds)}", {"arms": arms}, *runs)
    values = cells.read(compared / "metrics.json")
    values = values["entity"]["micro_f1"] if task == "ncbi" else values["notes"]["accuracy"]
    told = {"with": found["true"], "without": found["false"]}
    means = {arm: statistics.mean(cell["f1"] for cell in by_seed.values()) for arm, by_seed in told.items()}
    return {"mean_f1": means, "differences": differences(values), "seeds": told}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--strategies", nargs="+", default=["full", "lora"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("runs/bench/attention-dropout"))
    args = parser.parse_args()
    prepare(args.corpora, args.out)
    speeds = {"steps": args.steps, "batch": 8, "rounds": args.rounds, "arms": speed(args)}
    tasks = {task: scores(task, settings, args) for task, settings in TASKS.items()}
    cells.write("attention-dropout", {"speed": speeds, "settings": TASKS, "scores": tasks})


if __name__ == "__main__":
    main()
