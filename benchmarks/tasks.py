"""Heads beside what is simpler: nested beside flat, a chain beside a linear layer, attributes beside rules, and
sentences in context beside sentences alone.

    python benchmarks/tasks.py nested crf attributes sentences --corpora CORPORA --base DIR --seeds 1 2 3

nested: CHIA without scope, split 70/10/20 by trial, entities of its domain model alone (notes on the annotation such as
Parsing_Error left out). crf: NCBI-disease, official splits. attributes: POLARITY and TREND of MACCROBAT2020's events,
split 70/10/20 by report; rules for POLARITY stand beside the model in its own metrics. sentences: CSAbstruct, official
splits; micro F1 is the share of sentences with the right class. Finished cells under OUT are not repeated; the table
of those that are there goes to results/tasks-WHAT.json. `--documents` takes the first so many training documents.
"""

import argparse
import json
import statistics
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cells

from clinnlp.core.document import Document, Span
from clinnlp.formats.base import read, write
from clinnlp.formats.brat import Brat
from clinnlp.formats.conll import Conll
from clinnlp.formats.jsonl import Jsonl
from clinnlp.text.splits import split

Data = dict[str, list[Document]]
CHIA = frozenset((
    "Condition", "Qualifier", "Value", "Drug", "Procedure", "Temporal", "Measurement", "Person", "Observation",
    "Reference_point", "Negation", "Multiplier", "Mood", "Device", "Visit",
))  # fmt: skip
RATES = {"full": {"fit.learning_rate": 2e-4, "strategy.head_learning_rate": 1e-3}}
ARMS: dict[str, dict[str, dict[str, Any]]] = {
    "nested": {"flat": {"task": "ner"}, "flat-crf": {"task": "ner", "task.crf": "true"},
               "nested": {"task": "nested_ner"}},
    "crf": {"linear": {"task": "ner"}, "crf": {"task": "ner", "task.crf": "true"}},
    "attributes": {"model": {"task": "span_attributes", "task.rules.negated": "POLARITY=NEG",
                             "task.rules.uncertain": "POLARITY=UNCERTAIN"}},
    "sentences": {"context": {"task": "sentence_classification"},
                  "alone": {"task": "sentence_classification", "task.context": "false"}},
}  # fmt: skip


def chia(corpora: Path) -> Data:
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(corpora / "chia" / "chia_without_scope.zip") as packed:
            packed.extractall(folder)
        found = list(read(str(Path(folder) / "chia_without_scope"), Brat(mismatches="count")))
    kept = [
        replace(d, group=d.id.partition("_")[0], meta={}, spans=tuple(
            Span(s.start, s.end, s.label, fragments=s.fragments) for s in d.spans if s.label in CHIA
        ))
        for d in found
    ]  # fmt: skip
    return split(kept, {"train": 0.7, "dev": 0.1, "test": 0.2}, seed=13)


def ncbi(corpora: Path) -> Data:
    folder = corpora / "mtl_bio" / "NCBI-disease-IOB"
    files = {"train": "train.tsv", "dev": "devel.tsv", "test": "test.tsv"}
    return {name: list(read(str(folder / file), Conll())) for name, file in files.items()}


def maccrobat(corpora: Path) -> Data:
    """The triggers of all events, with the attributes of the event."""
    documents = []
    for path in sorted((corpora / "maccrobat2020").glob("*.ann")):
        text = path.with_suffix(".txt").read_bytes().decode("utf-8")
        spans: dict[str, tuple[str, list[tuple[int, int]]]] = {}
        events: dict[str, str] = {}
        attributes: dict[str, dict[str, str]] = {}
        for line in path.read_text(encoding="utf-8").split("\n"):
            id, _, rest = line.partition("\t")
            if id.startswith("T"):
                label, _, places = rest.partition("\t")[0].partition(" ")
                spans[id] = label, [(int(a), int(b)) for a, b in (part.split() for part in places.split(";"))]
            elif id.startswith("E"):
                events[id] = rest.split()[0].partition(":")[2]
            elif id.startswith("A"):
                name, about, value = rest.split()
                attributes.setdefault(events.get(about, about), {})[name] = value
        kept = [
            Span(pieces[0][0], pieces[-1][1], label, attributes=attributes.get(id, {}),
                 fragments=tuple(pieces) if len(pieces) > 1 else ())
            for id, (label, pieces) in spans.items() if id in events.values()
        ]  # fmt: skip
        documents.append(Document(path.stem, text, tuple(kept)))
    return split(documents, {"train": 0.7, "dev": 0.1, "test": 0.2}, seed=13)


def csabstruct(corpora: Path) -> Data:
    return {name: list(abstracts(corpora / "csabstruct" / f"{name}.jsonl", name)) for name in ("train", "dev", "test")}


def abstracts(path: Path, name: str) -> Iterable[Document]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        row, start, spans = json.loads(line), 0, []
        for sentence, label in zip(row["sentences"], row["labels"], strict=True):
            if sentence:
                spans.append(Span(start, start + len(sentence), label))
                start += len(sentence) + 1
        text = " ".join(sentence for sentence in row["sentences"] if sentence)
        yield Document(f"{name}-{number}", text, tuple(spans))


DATA: dict[str, Callable[[Path], Data]] = {
    "nested": chia, "crf": ncbi, "attributes": maccrobat, "sentences": csabstruct,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="+", choices=list(ARMS))
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--arms", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--documents", type=int)
    parser.add_argument("--settings", nargs="*", default=[], help="more settings of finetune: fit.batch=8")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    args = parser.parse_args()
    more = dict(word.split("=", 1) for word in args.settings)
    for what in args.what:
        folder = args.out / f"tasks-{what}-{args.documents or 'all'}"
        files = prepared(what, args.corpora, folder, args.documents)
        for seed in args.seeds:
            for arm, settings in ARMS[what].items():
                if arm in (args.arms or ARMS[what]):
                    cells.clinnlp("finetune", folder / f"{arm}-{seed}", {
                        "base": args.base, "seed": seed, "strategy": "full", "fit.epochs": args.epochs,
                        "fit.evaluations": 5, "task.window": 256, "task.overlap": 64, "data.unknown_labels": "miss",
                        "data.allow": "duplicates", **RATES["full"], **settings, **more, **files,
                    })  # fmt: skip
        cells.write(f"tasks-{what}", table(what, folder))


def prepared(what: str, corpora: Path, folder: Path, documents: int | None) -> dict[str, Path]:
    """The data settings of a comparison, its splits written once."""
    files = {f"data.{name}": folder / f"{name}.jsonl" for name in ("train", "dev", "test")}
    if not all(path.exists() for path in files.values()):
        folder.mkdir(parents=True, exist_ok=True)
        data = DATA[what](corpora)
        data["train"] = data["train"][:documents]
        for name, path in files.items():
            write(data[name.removeprefix("data.")], path, Jsonl())
    return files


def table(what: str, folder: Path) -> dict[str, Any]:
    """Scores of the finished cells by arm and seed; of attributes the rules beside them."""
    arms: dict[str, Any] = {}
    for arm in ARMS[what]:
        for run in sorted(folder.glob(f"{arm}-[0-9]*")):
            if not cells.finished(run):
                continue
            metrics, facts = cells.read(run / "metrics.json"), cells.read(run / "manifest.json")["facts"]
            seed = run.name.removeprefix(f"{arm}-")
            held = arms.setdefault(arm, {"seeds": {}})["seeds"][seed] = figures(metrics["entity"]["strict"])
            held |= {"counts": metrics["entity"]["counts"], "seconds": facts["train seconds"], "steps": facts["steps"]}
            if "rules" in metrics:
                arms["rules"] = figures(metrics["rules"])
    for values in arms.values():
        if f1 := [cell["f1"] for cell in values.get("seeds", {}).values()]:
            values |= {"mean_f1": statistics.mean(f1), "sd": statistics.stdev(f1) if len(f1) > 1 else None}
    documents = {name: sum(1 for _ in (folder / f"{name}.jsonl").open()) for name in ("train", "dev", "test")}
    return {"documents": documents, "arms": arms}


def figures(strict: dict[str, Any]) -> dict[str, Any]:
    micro = strict["micro"]
    return {
        **{key: micro[key] for key in ("precision", "recall", "f1", "f1_interval")}, "macro_f1": strict["macro"]["f1"],
        "per_label": {label: {key: one[key] for key in ("precision", "recall", "f1", "support", "f1_interval")}
                      for label, one in strict["per_label"].items()},
    }  # fmt: skip


if __name__ == "__main__":
    main()
