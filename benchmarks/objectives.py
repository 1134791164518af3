"""What each pretraining objective is worth with few labels: one budget of tokens, then two tasks at 100 documents.

    python benchmarks/objectives.py --corpora CORPORA --base DIR --seeds 1 2 3

Every objective reads about the same number of tokens in rows of 256: of MTSamples' distinct texts, or, `supervised`,
of BC5CDR's training and development abstracts (without NCBI-disease's dev and test ones). Then all weights are
fine-tuned, each arm with the same steps and rates, on 100 abstracts of NCBI-disease (official dev and test abstracts)
and on 100 notes of MTS-Dialog (20 classes, dev and first test set). An objective whose figures are in the result file
is not run again.
"""

import argparse
import json
import shutil
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import cells
from notes import mts_dialog, mtsamples

from clinnlp.core.document import Document
from clinnlp.formats.base import read, write
from clinnlp.formats.brat import Brat
from clinnlp.formats.jsonl import Jsonl
from clinnlp.formats.pubtator import Pubtator
from clinnlp.recipes.learning_curve import subset
from clinnlp.text.duplicates import normalised

NAME = "objectives-100-documents"
SIZE, BATCH = 256, 16
TWICE = {"simcse", "supcon", "tsdae"}  # read each row twice
OBJECTIVES = ("mlm", "supervised", "entity_mlm", "simcse", "span_mlm", "whole_word_mlm", "supcon", "tsdae",
              "sentence_order", "nsp")  # fmt: skip
TASKS: dict[str, dict[str, Any]] = {
    "ncbi": {"task": "ner", "fit.learning_rate": 2e-4, "fit.max_steps": 200},
    "mts_dialog": {"task": "note_classification", "fit.learning_rate": 5e-5, "strategy.head_learning_rate": 1e-2,
                   "fit.max_steps": 250, "data.allow": "duplicates"},
}  # fmt: skip


def prepare(corpora: Path, folder: Path) -> None:
    """The notes of pretraining and of both tasks as JSON Lines, and a word list of entities."""
    folder.mkdir(parents=True, exist_ok=True)
    ncbi = {name: ncbi_part(corpora, name) for name in ("train", "devel", "test")}
    bc5cdr = bc5cdr_without(ncbi["devel"] + ncbi["test"], corpora)
    surfaces = {document.text[span.start : span.end] for document in bc5cdr for span in document.spans}
    (folder / "entities.txt").write_text("\n".join(sorted(s for s in surfaces if "\n" not in s)), encoding="utf-8")
    write(bc5cdr, folder / "bc5cdr.jsonl", Jsonl())
    write([note for part in mtsamples(corpora).values() for note in part], folder / "mtsamples.jsonl", Jsonl())
    dialog = mts_dialog(corpora)
    parts = {
        "ncbi": {"train": subset(ncbi["train"], 100, 1), "dev": ncbi["devel"], "test": ncbi["test"]},
        "mts_dialog": {"train": subset(dialog["train"], 100, 1), "dev": dialog["dev"], "test": dialog["test"]},
    }
    for task, data in parts.items():
        for name, documents in data.items():
            write(documents, folder / f"{task}-{name}.jsonl", Jsonl())


def bc5cdr_without(scored: list[Document], corpora: Path) -> list[Document]:
    """The training and development abstracts of BC5CDR, without those that a task is scored on."""
    source = [
        document
        for part in ("Training", "Development")
        for document in read(corpora / "bc5cdr_pubtator" / f"CDR_{part}Set.PubTator.txt.gz", Pubtator())
    ]
    texts = {normalised(document.text) for document in scored}
    other = [document for document in source if normalised(document.text) not in texts]
    print(f"{len(source) - len(other)} abstracts of BC5CDR left out: dev or test of NCBI-disease")
    return other


def ncbi_part(corpora: Path, name: str) -> list[Document]:
    """NCBI-disease with its four labels as one."""
    documents = read(corpora / "ncbi_disease" / "standoff" / name, Brat())
    return [replace(note, spans=tuple(replace(span, label="Disease") for span in note.spans)) for note in documents]


def pretrained(objective: str, args: argparse.Namespace) -> Path:
    """The base after pretraining with an objective."""
    out = args.out / f"objective-{objective}"
    settings: dict[str, Any] = {
        "base": args.base, "objective": objective, "block": SIZE, "fit.batch": BATCH, "fit.epochs": 20,
        "fit.max_steps": round(args.tokens / (SIZE * BATCH * (2 if objective in TWICE else 1))), "seed": 1,
        "data.train": args.out / ("bc5cdr.jsonl" if objective == "supervised" else "mtsamples.jsonl"),
    }  # fmt: skip
    if objective == "entity_mlm":
        settings["objective.gazetteer"] = args.out / "entities.txt"
    return cells.clinnlp("pretrain", out, settings) / "model"


def scores(name: str, base: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The test score of each task and seed."""
    found: dict[str, Any] = {}
    for task, settings in TASKS.items():
        key = "entity.strict" if task == "ncbi" else "notes"
        f1: list[float] = []
        for seed in args.seeds:
            run = cells.clinnlp("finetune", args.out / f"objective-{name}-{task}-{seed}", {
                "base": base, "seed": seed, "strategy": "full", "fit.batch": 8, "fit.epochs": 100,
                "fit.evaluations": 4, "fit.patience": 0, "data.unknown_labels": "miss", **settings,
                **{f"data.{part}": args.out / f"{task}-{part}.jsonl" for part in ("train", "dev", "test")},
            })  # fmt: skip
            value = cells.read(run / "metrics.json")
            for part in key.split("."):
                value = value[part]
            found.setdefault(task, {"seeds": {}})["seeds"][seed] = {
                name: value["micro"][name] for name in ("f1", "f1_interval")
            }
            f1.append(value["micro"]["f1"])
            shutil.rmtree(run / "model", ignore_errors=True)
        found[task] |= {"mean": statistics.mean(f1), "sd": statistics.stdev(f1) if len(f1) > 1 else None}
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--objectives", nargs="+", default=["none", *OBJECTIVES])
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    args = parser.parse_args()
    prepare(args.corpora, args.out)
    path = Path(__file__).parent / "results" / f"{NAME}.json"
    arms: dict[str, Any] = json.loads(path.read_text())["arms"] if path.exists() else {}
    for name in args.objectives:
        if name in arms:
            continue
        base = args.base if name == "none" else pretrained(name, args)
        arms[name] = scores(name, base, args)
        if name != "none":
            spent = cells.read(base.parent / "metrics.json")["pretraining"]
            arms[name]["pretraining"] = {key: spent[key] for key in ("steps", "train_seconds", "tokens_per_second")}
        cells.write(NAME, {"tokens": args.tokens, "tasks": TASKS, "arms": arms})


if __name__ == "__main__":
    main()
