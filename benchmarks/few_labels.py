"""What supervised initialisation and self-training are worth with few labels: NCBI-disease with 25 to 500 abstracts.

    python benchmarks/few_labels.py --corpora CORPORA --base DIR --seeds 1 2 3

Four arms at each size: plain fine-tuning; a base that was first trained on the entities of BC5CDR (training and
development abstracts); self-training with the other NCBI training abstracts as unlabeled notes; both. Smaller sizes lie
in the larger ones of a seed. Dev is cut to `--dev_notes` of the official abstracts, since few labels would not allow
more; test is the official one. A plain run is the teacher of its self-training; both train for as many steps. A
finished run is not done again.
"""

import argparse
import shutil
import statistics
from pathlib import Path
from typing import Any

import cells
from objectives import bc5cdr_without, ncbi_part

from clinnlp.core.document import Document
from clinnlp.formats.base import write
from clinnlp.formats.jsonl import Jsonl
from clinnlp.recipes.learning_curve import subset
from clinnlp.text.duplicates import normalised

NAME = "few-labels"
SIZES = (25, 50, 100, 250, 500)
FIT: dict[str, Any] = {
    "task": "ner", "strategy": "full", "fit.learning_rate": 2e-4, "fit.batch": 8, "fit.epochs": 40,
    "fit.max_steps": 400, "fit.evaluations": 8, "fit.patience": 0, "data.unknown_labels": "miss",
}  # fmt: skip


def prepare(args: argparse.Namespace, folder: Path) -> None:
    """BC5CDR without abstracts of NCBI's dev and test, and for each seed and size labeled and unlabeled abstracts."""
    folder.mkdir(parents=True, exist_ok=True)
    ncbi = {name: ncbi_part(args.corpora, name) for name in ("train", "devel", "test")}
    scored = {normalised(note.text) for name in ("devel", "test") for note in ncbi[name]}
    other = bc5cdr_without(ncbi["devel"] + ncbi["test"], args.corpora)
    write(_some(other, args.source_notes), folder / "few-bc5cdr.jsonl", Jsonl())
    write(subset(ncbi["devel"], args.dev_notes, 1), folder / "few-dev.jsonl", Jsonl())
    write(_some(ncbi["test"], args.test_notes), folder / "few-test.jsonl", Jsonl())
    held_out = scored | {""}
    train = [note for note in ncbi["train"] if normalised(note.text) not in held_out]
    for seed in args.seeds:
        for size in args.sizes:
            labeled = subset(train, size, seed)
            ids = {note.id for note in labeled}
            rest = [note for note in train if note.id not in ids]
            write(labeled, folder / f"few-{size}-{seed}-labeled.jsonl", Jsonl())
            write(_some(rest, args.unlabeled_notes), folder / f"few-{size}-{seed}-unlabeled.jsonl", Jsonl())


def _some(documents: list[Document], count: int | None) -> list[Document]:
    return documents if count is None else documents[:count]


def initialised(args: argparse.Namespace) -> Path:
    """The base after supervised pretraining on BC5CDR."""
    settings = {
        "base": args.base, "objective": "supervised", "data.train": args.out / "few-bc5cdr.jsonl", "block": 256,
        "fit.batch": 16, "fit.epochs": 3, "fit.learning_rate": 5e-5, "seed": 1,
    }  # fmt: skip
    settings |= {"fit.max_steps": args.steps} if args.steps else {}
    return cells.clinnlp("pretrain", args.out / "few-initialised", settings) / "model"


def cell(arm: str, base: Path, size: int, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """The test micro F1 of a base, fine-tuned (teacher) and then self-trained (student), and what was between them."""
    parts = {"train": f"{size}-{seed}-labeled", "unlabeled": f"{size}-{seed}-unlabeled", "dev": "dev", "test": "test"}
    data = {f"data.{part}": args.out / f"few-{file}.jsonl" for part, file in parts.items()}
    rule = {"keep": args.keep, "absent": args.absent, "raw_scores": "true"}
    settings = {"base": base, "seed": seed, **FIT, **data, **rule}
    settings |= {"fit.max_steps": args.steps} if args.steps else {}
    run = cells.clinnlp("selftrain", args.out / f"few-{arm}-{size}-{seed}", settings)
    for who in ("teacher", "student"):
        shutil.rmtree(run / who / "model", ignore_errors=True)
    values = cells.read(run / "metrics.json")
    scores = values["scores"]["entity micro_f1"]
    silver = {"silver": values["silver"]["kept"], "dev": values["dev"].get("all"), "calibration": values["calibration"]}
    f1 = {who: scores[who]["value"] for who in ("teacher", "student")}
    return {**f1, "difference": scores["difference"], "interval": scores["interval"], "p": scores["p"], **silver}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--dev_notes", type=int, default=100)
    parser.add_argument("--keep", type=float, default=0.9)
    parser.add_argument("--absent", type=float, default=0.1)
    for name in ("test_notes", "source_notes", "unlabeled_notes", "steps"):
        parser.add_argument(f"--{name}", type=int, help="for a trial: fewer")
    parser.add_argument("--name", default=NAME, help="of the result file")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    args = parser.parse_args()
    prepare(args, args.out)
    bases = {"plain": args.base, "initialised": initialised(args)}
    sizes: dict[int, Any] = {}
    for size in args.sizes:
        found = {arm: {seed: cell(arm, base, size, seed, args) for seed in args.seeds} for arm, base in bases.items()}
        means = {
            f"{arm}{told}": statistics.mean(one[who] for one in by_seed.values())
            for arm, by_seed in found.items()
            for who, told in (("teacher", ""), ("student", ", self-trained"))
        }
        sizes[size] = {"mean_f1": means, "runs": found}
        cells.write(args.name, {"fit": FIT, "dev_notes": args.dev_notes, "keep": args.keep, "sizes": sizes})


if __name__ == "__main__":
    main()
