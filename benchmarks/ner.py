"""Entity extraction: clinnlp with LoRA and with all weights, beside a plain Trainer script, on official splits.

    python benchmarks/ner.py ncbi --corpora CORPORA --base DIR --seeds 1 2 3 --out runs/bench
    python benchmarks/ner.py bc5cdr --corpora CORPORA --base DIR --seeds 1 --out runs/bench

LoRA's learning rate is chosen on dev: the first seed runs every rate of the grid, the others the best of them.
Each cell (arm, rate, seed) is a run folder under OUT and is not repeated if it is there, so that arms may be run in
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
EPOCHS = {"full": "6", "lora": "8", "plain": "4"}
RATES = {"full": ["2e-4"], "lora": ["1e-3", "2e-3", "4e-3"], "plain": ["5e-5"]}
# adapters without dropout: drawing it takes a quarter of a LoRA step on a CPU; the encoder keeps its 0.1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", choices=sorted(CORPORA))
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--arms", nargs="*", default=list(RATES))
    parser.add_argument("--rates", nargs="+", help="of the grid, in this process")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    args = parser.parse_args()
    for arm in args.arms:
        rates = args.rates or RATES[arm]
        for seed in args.seeds:
            for rate in rates:
                folder = args.out / f"ner-{args.corpus}-{arm}-{rate}-{seed}"
                if not (folder / "metrics.json").exists():
                    subprocess.run(command(args, arm, rate, seed, folder), check=True)
            rates = [best_rate(args, arm)]
    write(args)


def command(args: argparse.Namespace, arm: str, rate: str, seed: int, folder: Path) -> list[str]:
    folder_of = args.corpora / CORPORA[args.corpus]
    files = {"train": folder_of / "train.tsv", "dev": folder_of / "devel.tsv", "test": folder_of / "test.tsv"}
    common = ["--base", args.base, "--seed", str(seed), "--out", str(folder)]
    if arm == "plain":
        script = str(Path(__file__).with_name("plain_ner.py"))
        named = [word for name, path in files.items() for word in (f"--{name}", str(path))]
        return [sys.executable, script, *common, *named, "--learning_rate", rate, "--epochs", EPOCHS[arm]]
    head = ["--strategy.dropout", "0", "--strategy.head_learning_rate", "1e-3"] if arm == "lora" else []
    return [
        sys.executable, "-m", "clinnlp", "finetune", *common, "--data.format", "conll",
        *(word for name, path in files.items() for word in (f"--data.{name}", str(path))),
        "--strategy", arm, *head, "--fit.learning_rate", rate, "--fit.epochs", EPOCHS[arm],
    ]  # fmt: skip


def finished(args: argparse.Namespace, arm: str) -> dict[tuple[str, int], dict[str, Any]]:
    """The cells of an arm that are there, by rate and seed."""
    found = {}
    for folder in sorted(args.out.glob(f"ner-{args.corpus}-{arm}-*-*")):
        if (folder / "metrics.json").exists():
            *rate, seed = folder.name.removeprefix(f"ner-{args.corpus}-{arm}-").split("-")
            found["-".join(rate), int(seed)] = cell(folder)
    return found


def best_rate(args: argparse.Namespace, arm: str) -> str:
    """The rate with the best dev F1 at the first seed that was run."""
    found = finished(args, arm)
    first = min(seed for _, seed in found)
    return max((rate for rate, seed in found if seed == first), key=lambda rate: found[rate, first]["best_dev"])


def cell(folder: Path) -> dict[str, Any]:
    metrics = cells.read(folder / "metrics.json")
    strict = metrics["entity"]["strict"]
    run = cells.read(folder / "training.json") if (folder / "training.json").exists() else metrics["training"]
    dev = [{"cpu_seconds": h["cpu_seconds"], "f1": h["score"]} for h in run["history"] if "score" in h]
    return {
        "f1": strict["micro"]["f1"],
        "interval": strict["micro"]["f1_interval"],
        "per_label": {label: values["f1"] for label, values in strict["per_label"].items()},
        "best_dev": max(d["f1"] for d in dev),
        "dev": dev,
    }


def write(args: argparse.Namespace) -> None:
    arms: dict[str, Any] = {}
    for arm in RATES:
        if not (found := finished(args, arm)):
            continue
        rate = best_rate(args, arm)
        seeds = sorted(seed for r, seed in found if r == rate)
        f1 = [found[rate, seed]["f1"] for seed in seeds]
        grid = {r: values["best_dev"] for (r, seed), values in found.items() if seed == seeds[0]}
        arms[arm] = {
            "rate": rate, "epochs": EPOCHS[arm], "dev_f1_by_rate": grid, "mean_f1": statistics.mean(f1),
            "sd": statistics.stdev(f1) if len(f1) > 1 else None,
            "seeds": {seed: found[rate, seed] for seed in seeds},
        }  # fmt: skip
    for arm, values in arms.items():
        if arm != "plain" and "plain" in arms:
            values["cpu_seconds_to_plain"] = times(values["seeds"], arms["plain"]["seeds"])
    cells.write(f"ner-{args.corpus}", {"crf_floor": CRF_FLOOR[args.corpus], "arms": arms})


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
