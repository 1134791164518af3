"""Strategies side by side at 100 training documents, equal steps, each at a rate of its own: `compare strategies`.

    python benchmarks/strategies.py ncbi --corpora CORPORA --base DIR --seeds 1 2 3
    python benchmarks/strategies.py mts_dialog --corpora CORPORA --base DIR --seeds 1 2 3

The documents are those of objectives.py: 100 abstracts of NCBI-disease or 100 notes of MTS-Dialog, official dev and
test notes. Finished cells under OUT are not repeated; arms may be left out with --arms.
"""

import argparse
from pathlib import Path
from typing import Any

import cells
import yaml
from objectives import prepare

ALL, ADAPTERS = [1e-4, 3e-4], [1e-3, 3e-3]  # rates to try, for a small encoder
LORA = {"strategy": "lora", "fit.learning_rate": ADAPTERS}
ULMFIT = {"strategy": "gradual_unfreeze", "fit.layer_decay": 0.95, "fit.schedule": "slanted_triangular"}
ARMS: dict[str, dict[str, Any]] = {
    "full": {"strategy": "full", "fit.learning_rate": ALL},
    "lora": LORA,
    "lora, top half": LORA | {"strategy.layers": "top_half"},
    "top_layers, cached": {"strategy": "top_layers", "fit.learning_rate": ADAPTERS},
    "feature_extractor": {"strategy": "feature_extractor", "strategy.cache": True, "fit.learning_rate": [3e-3, 1e-2]},
    "freeze": {"strategy": "freeze", "fit.learning_rate": ALL},
    "bitfit": {"strategy": "bitfit", "fit.learning_rate": [1e-3, 5e-3]},
    "ia3": {"strategy": "ia3", "fit.learning_rate": [3e-3, 1e-2]},
    "linear_probe_then full": {"strategy": "linear_probe_then", "strategy.then": "full", "fit.learning_rate": ALL},
    "ULMFiT": ULMFIT | {"fit.learning_rate": ALL},
    "serial_unfreeze": {"strategy": "serial_unfreeze", "fit.learning_rate": ALL},
    "lora, LoRA+": LORA | {"strategy.b_rate": 16, "fit.learning_rate": [3e-4, 1e-3]},
    "lora, DoRA": LORA | {"strategy.dora": True},
    "lora, PiSSA": LORA | {"strategy.pissa": True, "strategy.merge": True, "fit.learning_rate": [3e-4, 1e-3]},
    "scratch": {"strategy": "full", "base": None, "fit.learning_rate": ALL},
}
TASKS: dict[str, dict[str, Any]] = {
    "ncbi": {"task": {"name": "ner"}, "data": {"unknown_labels": "miss"}},
    "mts_dialog": {"task": {"name": "note_classification"}, "data": {"unknown_labels": "miss", "allow": "duplicates"}},
}
HEADS = {"ncbi": {}, "mts_dialog": {"strategy.head_learning_rate": 1e-2}}  # docs/strategies.md: a fresh head


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=[*TASKS])
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--arms", nargs="*", default=[], help="all without")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--untuned", action="store_true", help="the higher of each arm's two rates, none tried on dev")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    args = parser.parse_args()
    prepare(args.corpora, args.out)
    arms = {name: ARMS[name] | HEADS[args.task] for name in args.arms or ARMS}
    for arm in arms.values():
        arm["fit.learning_rate"] = arm["fit.learning_rate"][-1] if args.untuned else arm["fit.learning_rate"]
        arm |= {"like": str(args.base)} if "base" in arm else {}
    config = args.out / f"strategies-{args.task}.yaml"
    config.write_text(yaml.safe_dump(TASKS[args.task] | {"arms": arms, "seeds": args.seeds}, sort_keys=False))
    run = cells.clinnlp("compare strategies", args.out / f"strategies-{args.task}", {
        "base": args.base, "fit.max_steps": args.steps, "fit.epochs": 1000, "fit.batch": 8, "fit.evaluations": 3,
        **{f"data.{part}": args.out / f"{args.task}-{part}.jsonl" for part in ("train", "dev", "test")},
    }, str(config))  # fmt: skip
    result = cells.read(run / "metrics.json")
    cells.write(f"strategies-{args.task}-100", {"steps": args.steps, "seeds": args.seeds, **result})


if __name__ == "__main__":
    main()
