"""Entities, note type and attributes of entities: by one adapter in one pass, beside a model for each.

    python benchmarks/multitask.py --steps 100 --out runs/multitask

The synthetic notes of data/, the base that comes with the package, LoRA. Each single task is trained for `--steps`
steps, all together for as many steps as the single ones have in sum; all else is equal. Scores are on the 90 test
notes, one seed each, so differences within the intervals say nothing. Labeling: processor seconds of one thread over
train, dev, test and unlabelled notes, `--rounds` rounds in turn, with the models loaded; equal texts are read once in
all arms.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
import torch

from clinnlp.core.document import Document
from clinnlp.formats.base import read
from clinnlp.formats.jsonl import Jsonl
from clinnlp.labeling.model import ModelFolder
from clinnlp.labeling.predict import BATCH_TOKENS, chunks
from clinnlp.labeling.together import Member, alike, predict_together, share

NOTES = Path(__file__).parents[1] / "data" / "notes"
TASKS: dict[str, dict[str, Any]] = {
    "entities": {"task": "ner"},
    "type": {"task": "note_classification", "data.labels_field": "note_type"},
    "attributes": {"task": "span_attributes"},
}
SPLITS = {f"data.{split}": NOTES / f"{split}.jsonl" for split in ("train", "dev", "test")}
WINDOW = {"task.window": 256, "task.overlap": 64}
HOW = {  # at the demo's rates (3e-3, head 1e-2) 100 steps teach no note types: dev F1 0.23 where these give 0.63
    "strategy.head_learning_rate": 2e-3, "fit.learning_rate": 1e-3, "fit.batch": 8,
    "fit.patience": 0, "fit.device": "cpu",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", default="clinnlp-mini")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    common = {"base": args.base, "seed": args.seed, **HOW}
    parts = {f"tasks.{name}.{key}": value
             for name, own in TASKS.items() for key, value in {**SPLITS, **WINDOW, **own}.items()}  # fmt: skip
    many = cells.clinnlp("multitask", args.out / "together", {**common, **parts, **budget(args.steps * len(TASKS))})
    alone = {
        name: cells.clinnlp(
            "finetune", args.out / name, {**common, **own, **SPLITS, **WINDOW, **budget(args.steps)}
        )
        for name, own in TASKS.items()
    }  # fmt: skip
    together = {name: many / name for name in TASKS}
    told = cells.read(many / "metrics.json")["tasks"]
    scores = {
        name: {
            "measure": told[name]["measure"],
            "alone": score_of(alone[name], told[name]["measure"]),
            "together": score_of(together[name], told[name]["measure"]),
        }
        for name in TASKS
    }
    seconds = timed(together, alone, args.rounds)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    cells.write("multitask", {
        "notes": {split: sum(1 for _ in read(str(NOTES / f"{split}.jsonl"), Jsonl())) for split in ("train", "test")},
        "steps": {"alone": args.steps, "together": args.steps * len(TASKS)},
        "seed": args.seed,
        "shares": {name: round(told[name]["share"], 3) for name in TASKS},
        "scores": scores,
        "train_seconds": {
            "alone, sum": round(sum(fact(run, "train seconds") for run in alone.values()), 1),
            "together": fact(many, "train seconds"),
        },
        "labeled_notes": len(labeled()),
        "processor_seconds": {name: [round(value, 2) for value in values] for name, values in seconds.items()},
        "median_processor_seconds": {name: round(value, 2) for name, value in median.items()},
        "three_in_one_pass_to_entities": round(median["three, one pass"] / median["entities"], 3),
        "three_models_in_turn_to_entities": round(median["three models, in turn"] / median["entities"], 3),
    })  # fmt: skip


def budget(steps: int) -> dict[str, Any]:
    return {"fit.min_steps": steps, "fit.max_steps": steps, "fit.evaluations": 4}


def score_of(run: Path, measure: str) -> dict[str, Any]:
    """A score on test with its interval."""
    held: Any = cells.read(run / "metrics.json")
    *parents, last = measure.split(".")
    for part in parents:
        held = held[part]
    interval = held.get(f"{last}_interval")
    return {
        "score": round(held[last], 4),
        "interval": interval and [round(interval[end], 4) for end in ("low", "high")],
    }


def fact(run: Path, name: str) -> float:
    return float(cells.read(run / "manifest.json")["facts"][name])


def labeled() -> list[Document]:
    splits = ("train", "dev", "test", "unlabelled")
    return [note for split in splits for note in read(str(NOTES / f"{split}.jsonl"), Jsonl())]


def timed(together: dict[str, Path], alone: dict[str, Path], rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each arm in each round, one thread."""
    torch.set_num_threads(1)
    notes = labeled()
    shared = members(together)
    groups = alike(shared)
    assert len(groups) == 1 and share(shared) == 1, "one encoder is left to run"
    single = {name: members({name: run})[0] for name, run in alone.items()}
    arms: dict[str, Callable[[], Any]] = {name: lambda one=one: labels([one], notes) for name, one in single.items()}
    arms["three, one pass"] = lambda: labels(shared, notes)
    arms["three models, in turn"] = lambda: [labels([one], notes) for one in single.values()]
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, run in arms.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    return seconds


def members(runs: dict[str, Path]) -> list[Member]:
    return [Member.load(ModelFolder(run / "model", None, None, name)) for name, run in runs.items()]


def labels(models: list[Member], notes: list[Document]) -> None:
    for chunk in chunks(notes, 512):
        predict_together(models, [list(range(len(models)))], chunk, BATCH_TOKENS)


if __name__ == "__main__":
    main()
