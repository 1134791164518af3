"""Note classification beside TF-IDF with a linear SVM, fitted in the same run on the same notes.

    python benchmarks/notes.py mts_dialog --corpora CORPORA --base DIR --seeds 1
    python benchmarks/notes.py mtsamples --corpora CORPORA --base DIR --seeds 1

mts_dialog: 20 section classes from the note, official splits, both test sets. mtsamples: specialties of each distinct
text as several labels, 80/10/10 by text.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import cells

from clinnlp.core.document import Document
from clinnlp.evaluation.score import evaluate
from clinnlp.formats.base import read, write
from clinnlp.formats.csv import Csv
from clinnlp.formats.jsonl import Jsonl
from clinnlp.text.splits import split

Data = dict[str, list[Document]]


def mts_dialog(corpora: Path) -> Data:
    reader = Csv(id_field="ID", text_field="section_text", labels_field="section_header")
    files = {"train": "TrainingSet", "dev": "ValidationSet", "test": "TestSet-1-MEDIQA-Chat-2023",
             "test2": "TestSet-2-MEDIQA-Sum-2023"}  # fmt: skip
    folder = corpora / "mts_dialog" / "Main-Dataset"
    return {name: list(read(folder / f"MTS-Dialog-{file}.csv", reader)) for name, file in files.items()}


def mtsamples(corpora: Path) -> Data:
    labels: dict[str, set[str]] = defaultdict(set)
    ids: dict[str, str] = {}
    for line in (corpora / "mtsamples" / "mtsamples.jsonl").read_bytes().decode().split("\n"):
        row = json.loads(line) if line else {}
        if (row.get("transcription") or "").strip():
            labels[row["transcription"]].add(row["medical_specialty"].strip())
            ids.setdefault(row["transcription"], str(row["note_id"]))
    documents = [Document(ids[text], text, labels=tuple(sorted(found))) for text, found in labels.items()]
    return split(documents, {"train": 0.8, "dev": 0.1, "test": 0.1}, seed=13)


def tfidf(data: Data, several: bool) -> dict[str, list[Document]]:
    """What TF-IDF (word 1-2-grams, sublinear) with a linear SVM says of each test set."""
    from dataclasses import replace

    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import MultiLabelBinarizer
    from sklearn.svm import LinearSVC

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    rows = words.fit_transform(document.text for document in data["train"])
    names = MultiLabelBinarizer()
    targets = names.fit_transform(document.labels for document in data["train"])
    machine = OneVsRestClassifier(LinearSVC()) if several else LinearSVC()
    machine.fit(rows, targets if several else targets.argmax(axis=1))
    found = {}
    for name in (name for name in data if name.startswith("test")):
        answer = machine.predict(words.transform(document.text for document in data[name]))
        labels = names.inverse_transform(answer) if several else [(names.classes_[index],) for index in answer]
        pairs = zip(data[name], labels, strict=True)
        found[name] = [replace(document, labels=tuple(given)) for document, given in pairs]
    return found


def figures(report: Any) -> dict[str, Any]:
    notes = report["notes"]
    return {key: notes[key] for key in ("accuracy", "average_precision")} | {
        "micro_f1": notes["micro"]["f1"], "macro_f1": notes["macro"]["f1"],
        "interval": notes["micro"].get("f1_interval"),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", choices=["mts_dialog", "mtsamples"])
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--strategies", nargs="+", default=["lora", "full"])
    parser.add_argument("--epochs", default="20")
    parser.add_argument("--settings", nargs="*", default=[], help="more settings of finetune: fit.batch=8")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    args = parser.parse_args()
    data = {"mts_dialog": mts_dialog, "mtsamples": mtsamples}[args.corpus](args.corpora)
    folder = args.out / f"notes-{args.corpus}-data"
    folder.mkdir(parents=True, exist_ok=True)
    for name, documents in data.items():
        write(documents, folder / f"{name}.jsonl", Jsonl())
    tests = [name for name in data if name.startswith("test")]
    result: dict[str, Any] = {"documents": {name: len(documents) for name, documents in data.items()}}
    for name, predicted in tfidf(data, args.corpus == "mtsamples").items():
        result[f"tfidf {name}"] = figures(evaluate(data[name], predicted, task="note_classification").as_dict())
    rates = {"lora": 2e-3, "full": 2e-4}
    # the official splits of MTS-Dialog share eight long texts; both systems train and are scored on them
    shared = {"data.unknown_labels": "miss", "data.allow": "duplicates"}
    for seed in args.seeds:
        for strategy in args.strategies:
            run = cells.clinnlp("finetune", args.out / f"notes-{args.corpus}-{strategy}-{seed}", {
                "base": args.base, "seed": seed, "task": "note_classification", "strategy": strategy,
                "fit.learning_rate": rates[strategy], "fit.epochs": args.epochs, "task.balance": 0.5, **shared,
                **dict(word.split("=", 1) for word in args.settings),
                **{f"data.{name}": folder / f"{name}.jsonl" for name in ("train", "dev", "test")},
            })  # fmt: skip
            for name in tests:
                scored = cells.clinnlp("evaluate", run.with_name(f"{run.name}-{name}"), {
                    "model": run / "model", "data.test": folder / f"{name}.jsonl", **shared,
                })  # fmt: skip
                result[f"{strategy} {seed} {name}"] = figures(cells.read(scored / "metrics.json"))
            result[f"{strategy} {seed} seconds"] = cells.read(run / "manifest.json")["facts"]["train seconds"]
    cells.write(f"notes-{args.corpus}", result)


if __name__ == "__main__":
    main()
