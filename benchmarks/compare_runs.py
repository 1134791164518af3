"""`clinnlp compare` on the runs of ner.py and transfer.py: their differences, tested.

    python benchmarks/compare_runs.py --runs runs/bench

Compares LoRA with all weights on NCBI-disease (three seeds) and BC5CDR (one), and with few labels random weights,
a pretrained encoder and the same after continued pretraining (three seeds). Costs a minute.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

import cells

COMPARISONS = {  # name, run folders, arm of each
    "ncbi lora and full": {
        f"ner-ncbi-{cell}-{seed}": arm for arm, cell in (("lora", "lora-r16-1e-3"), ("full", "full-2e-4"))
        for seed in (1, 2, 3)
    },
    "bc5cdr lora and full": {"ner-bc5cdr-lora-r16-1e-3-1": "lora", "ner-bc5cdr-full-2e-4-1": "full"},
    "ncbi 1,000 sentences, scratch and pretrained": {
        f"transfer-{cell}-{seed}": arm
        for arm, cell in (("scratch", "random"), ("pretrained", "base"), ("adapted", "adapted"))
        for seed in (1, 2, 3)
    },
}  # fmt: skip


def differences(compared: dict[str, Any]) -> list[dict[str, Any]]:
    """Each pair of arms with its difference, interval, p-value and p-value after Holm."""
    return [
        {
            "arms": f"{pair['first']} minus {pair['second']}", "difference": pair["difference"],
            "interval": [pair["interval"]["low"], pair["interval"]["high"]],
            "p": pair["p"], "p_holm": pair["p_holm"], "test": pair["test"]["test"],
        }
        for pair in compared["pairs"]
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=Path, default=Path("runs/bench"))
    args = parser.parse_args()
    result: dict[str, Any] = {}
    for name, arms in COMPARISONS.items():
        out = args.runs / f"compare-{name.replace(' ', '-').replace(',', '')}"
        shutil.rmtree(out, ignore_errors=True)
        folders = [str(args.runs / folder) for folder in arms]
        cells.clinnlp("compare", out, {"arms": ",".join(arms.values())}, *folders)
        entity = cells.read(out / "metrics.json")["entity"]
        micro = entity["micro_f1"]
        labels = {label: differences(values) for label, values in entity["by_label"].items()}
        result[name] = {
            "units": next(iter(micro["arms"].values()))["interval"]["units"],
            "unit": next(iter(micro["arms"].values()))["interval"]["unit"],
            "micro_f1": {arm: {key: v[key] for key in ("mean", "sd")} for arm, v in micro["arms"].items()},
            "micro_f1 differences": differences(micro),
            "f1 differences by label": labels,
        }
    cells.write("compare", result)


if __name__ == "__main__":
    main()
