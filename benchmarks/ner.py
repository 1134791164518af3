"""Entity extraction: clinnlp with LoRA and with all weights, beside a plain Trainer script, on official splits.

    python benchmarks/ner.py ncbi --corpora CORPORA --base DIR --seeds 1 2 3 --out runs/bench
    python benchmarks/ner.py bc5cdr --corpora CORPORA --base DIR --seeds 1 --out runs/bench
    python benchmarks/ner.py ncbi --corpora CORPORA --base DIR --arms full full-fp32 --name ner-ncbi-precision

LoRA's rank and learning rate are chosen on dev: the first seed runs every setting of the grid, the others the best.
Each cell (arm, setting, seed) is a run folder under OUT and is not repeated if it is there, so that arms may be run in
processes side by side; the table of all finished cells goes to benchmarks/results/ner-CORPUS.json. Times are
processor seconds of training steps, reading and scoring left out, with one thread per process.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import cells

CORPORA = {"ncbi": "mtl_bio/NCBI-disease-IOB", "bc5cdr": "mtl_bio/BC5CDR-IOB"}
CRF_FLOOR = {"ncbi": 0.767, "bc5cdr": 0.783}  # hand-feature CRF, from the corpora's README
GRID: dict[str, dict[str, dict[str, str]]] = {  # arm, name of the setting, its flags
    "full": {"2e-4": {"fit.learning_rate": "2e-4", "fit.epochs": "6"}},
    "full-fp32": {"2e-4": {"fit.learning_rate": "2e-4", "fit.epochs": "6", "fit.precision": "fp32"}},
    "lora": {
        f"r{rank}-{rate}": {"strategy.rank": rank, "fit.learning_rate": rate, "fit.epochs": "10"}
        for rank, rate in (("16", "1e-3"), ("64", "1e-3"))
    },
    "plain": {"5e-5": {"learning_rate": "5e-5", "epochs": "4"}},
}
# adapters without dropout: drawing it takes a quarter of a LoRA step on a CPU; the encoder keeps its 0.1
LORA = {"strategy.dropout": "0", "strategy.head_learning_rate": "1e-3"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", choices=sorted(CORPORA))
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--arms", nargs="*", choices=list(GRID), default=["full", "lora", "plain"])
    parser.add_argument("--settings", nargs="+", help="of the grid, in this process")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--name", help="of the result file; ner-CORPUS without it")
    args = parser.parse_args()
    for arm in args.arms:
        wanted = args.settings or list(GRID[arm])
        for seed in args.seeds:
            for setting in wanted:
                folder = args.out / f"ner-{args.corpus}-{arm}-{setting}-{seed}"
                if not (folder / "metrics.json").exists():
                    subprocess.run(command(args, arm, setting, seed, folder), check=True)
            wanted = [best(args, arm)]
    write(args)


def command(args: argparse.Namespace, arm: str, setting: str, seed: int, folder: Path) -> list[str]:
    folder_of = args.corpora / CORPORA[args.corpus]
    files = {"train": folder_of / "train.tsv", "dev": folder_of / "devel.tsv", "test": folder_of / "test.tsv"}
    flags = {"base": args.base, "seed": str(seed), "out": str(folder), **GRID[arm][setting]}
    if arm == "plain":
        words = [sys.executable, str(Path(__file__).with_name("plain_ner.py"))]
        flags |= {name: str(path) for name, path in files.items()}
    else:
        words = [sys.executable, "-m", "clinnlp", "finetune"]
        flags |= {"data.format": "conll", "strategy": arm.removesuffix("-fp32"), **(LORA if arm == "lora" else {})}
        flags |= {f"data.{name}": str(path) for name, path in files.items()}
    return [*words, *(word for name, value in flags.items() for word in (f"--{name}", value))]


def finished(args: argparse.Namespace, arm: str) -> dict[tuple[str, int], dict[str, Any]]:
    """The cells of an arm that are there, by setting and seed."""
    folders = {
        (setting, seed): args.out / f"ner-{args.corpus}-{arm}-{setting}-{seed}"
        for setting in GRID[arm]
        for seed in range(1, 10)
    }
    return {key: cell(folder) for key, folder in folders.items() if (folder / "metrics.json").exists()}


def best(args: argparse.Namespace, arm: str) -> str:
    """The setting with the best dev F1 at the first seed that was run."""
    found = finished(args, arm)
    first = min(seed for _, seed in found)
    return max((s for s, seed in found if seed == first), key=lambda setting: found[setting, first]["best_dev"])


def cell(folder: Path) -> dict[str, Any]:
    metrics = cells.read(folder / "metrics.json")
    strict = metrics["entity"]["strict"]
    run = cells.read(folder / "training.json") if (folder / "training.json").exists() else metrics["training"]
    dev = [{"cpu_seconds": h["cpu_seconds"], "f1": h["score"]} for h in run["history"] if "score" in h]
    facts = cells.read(folder / "manifest.json")["facts"] if (folder / "manifest.json").exists() else {}
    return {
        "precision": facts.get("precision", "fp32"),
        "f1": strict["micro"]["f1"],
        "interval": strict["micro"]["f1_interval"],
        "per_label": {label: values["f1"] for label, values in strict["per_label"].items()},
        "best_dev": max(d["f1"] for d in dev),
        "dev": dev,
    }


def write(args: argparse.Namespace) -> None:
    arms: dict[str, Any] = {}
    for arm in GRID:
        if not (found := finished(args, arm)):
            continue
        setting = best(args, arm)
        seeds = sorted(seed for s, seed in found if s == setting)
        f1 = [found[setting, seed]["f1"] for seed in seeds]
        arms[arm] = {
            "setting": GRID[arm][setting],
            "dev_f1_by_setting": {s: values["best_dev"] for (s, seed), values in found.items() if seed == seeds[0]},
            "mean_f1": statistics.mean(f1), "sd": statistics.stdev(f1) if len(f1) > 1 else None,
            "seeds": {seed: found[setting, seed] for seed in seeds},
        }  # fmt: skip
    for arm, values in arms.items():
        if arm != "plain" and "plain" in arms:
            values["cpu_seconds_to_plain"] = times(values["seeds"], arms["plain"]["seeds"])
    cells.write(args.name or f"ner-{args.corpus}", {"crf_floor": CRF_FLOOR[args.corpus], "arms": arms})


def times(ours: dict[int, Any], plain: dict[int, Any]) -> dict[int, dict[str, float | None]]:
    """Training time of both to the best dev F1 of the plain script, seed by seed; None if it was not reached."""
    table = {}
    for seed in sorted(ours.keys() & plain.keys()):
        wanted = plain[seed]["best_dev"]
        reached = [[d["cpu_seconds"] for d in run["dev"] if d["f1"] >= wanted] for run in (ours[seed], plain[seed])]
        table[seed] = {"dev_f1": wanted, "clinnlp": min(reached[0], default=None), "plain": min(reached[1])}
    return table


if __name__ == "__main__":
    main()
