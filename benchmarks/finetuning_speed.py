"""What a step of fine-tuning costs with and without dropout of attention weights, by strategy and precision.

    python benchmarks/finetuning_speed.py --corpora CORPORA --base DIR --rounds 5

Entity extraction on abstracts of NCBI-disease in batches of 8, every arm once a round, in turn. Train seconds by the
clock, one dev abstract scored at the end included; medians over rounds, and the median of the ratios within a round.
"""

import argparse
import statistics
from itertools import product
from pathlib import Path
from typing import Any

import cells
from objectives import ncbi_part

from clinnlp.formats.base import write
from clinnlp.formats.jsonl import Jsonl


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--strategies", nargs="+", default=["full", "lora"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--name", default="finetuning-speed", help="of the result file")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/finetuning-speed"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    parts = {"train": ncbi_part(args.corpora, "train")[:160], "dev": ncbi_part(args.corpora, "devel")[:1]}
    for name, documents in parts.items():
        write(documents, args.out / f"{name}.jsonl", Jsonl())
    arms: dict[str, Any] = {}
    for strategy, precision in product(args.strategies, args.precisions):
        seconds: dict[str, list[float]] = {"true": [], "false": []}
        for number, dropped in product(range(args.rounds), seconds):
            run = cells.clinnlp("finetune", args.out / f"{strategy}-{precision}-{dropped}-{number}", {
                "base": args.base, "strategy": strategy, "fit.precision": precision, "fit.attention_dropout": dropped,
                "fit.batch": 8, "fit.max_steps": args.steps, "fit.epochs": 100, "fit.evaluations": 1, "seed": 1,
                "data.unknown_labels": "miss", **{f"data.{name}": args.out / f"{name}.jsonl" for name in parts},
            })  # fmt: skip
            seconds[dropped].append(cells.read(run / "manifest.json")["facts"]["train seconds"])
        ratios = [slow / fast for slow, fast in zip(seconds["true"], seconds["false"], strict=True)]
        arms[f"{strategy}, {precision}"] = {
            "seconds with it": statistics.median(seconds["true"]), "without": statistics.median(seconds["false"]),
            "times as fast": statistics.median(ratios), "ratios": sorted(round(ratio, 2) for ratio in ratios),
        }  # fmt: skip
        cells.write(args.name, {"steps": args.steps, "batch": 8, "rounds": args.rounds, "arms": arms})


if __name__ == "__main__":
    main()
