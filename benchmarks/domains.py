"""Domain adaptation: a model made on a source, each method with unlabeled notes of the target, and the target's oracle.

    python benchmarks/domains.py --corpora CORPORA --base DIR --seeds 1 2 3
    python benchmarks/domains.py --corpora CORPORA --base DIR --pairs mixed --arms none reweight oracle --seeds 1

Pairs: ncbi-bc5cdr and bc5cdr-ncbi (diseases, sentences), dialogue-note (sections of MTS-Dialog: half of the visits as
dialogues, notes of the other half as target), style (notes, the target in a clipped style), mixed (as style, but one
source note in seven is in that style too, so that the source holds some of what the target is) and sites (one in four,
and with that style the names of the two commonest sections are used the other way round). All weights move in most
arms; `frozen-` arms train the head on a frozen encoder. `adapted` begins with masked language modelling on the notes of
both sides, `adapted-dann` adds `dann` to that. Source dev notes choose the weights, of the oracle target ones.
Each cell (pair, arm, seed) is a run folder under OUT and is not repeated; the table holds those that are there, with
the share of the gap between no adaptation and the oracle that an arm closes.
"""

import argparse
import random
import statistics
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cells

from clinnlp.core.document import Document
from clinnlp.formats.base import read, write
from clinnlp.formats.conll import Conll
from clinnlp.formats.csv import Csv
from clinnlp.formats.jsonl import Jsonl

NER = {
    "ncbi-bc5cdr": ("NCBI-disease-IOB", "BC5CDR-disease-IOB"),
    "bc5cdr-ncbi": ("BC5CDR-disease-IOB", "NCBI-disease-IOB"),
}
NOTES = ("dialogue-note", "style", "mixed", "sites")
OTHER_WAY = {"GENHX": "FAM/SOCHX", "FAM/SOCHX": "GENHX"}
FULL = {"strategy": "full"}
FROZEN = {"strategy": "feature_extractor", "strategy.cache": "true"}
ARMS: dict[str, dict[str, Any]] = {
    "none": FULL,
    "reweight": {**FULL, "domain": "reweight"},
    "reweight-vectors": {**FULL, "domain": "reweight", "domain.features": "encoder"},
    "select": {**FULL, "domain": "reweight", "domain.keep": 0.5},
    "coral": {**FULL, "domain": "coral", "domain.weight": 100},
    "dann": {**FULL, "domain": "dann"},
    "mmd": {**FULL, "domain": "mmd"},
    "adapted": FULL,
    "adapted-dann": {**FULL, "domain": "dann"},
    "oracle": FULL,
    "frozen-none": FROZEN,
    "frozen-reweight": {**FROZEN, "domain": "reweight"},
    "frozen-reweight-vectors": {**FROZEN, "domain": "reweight", "domain.features": "encoder"},
    "frozen-select": {**FROZEN, "domain": "reweight", "domain.keep": 0.5},
    "frozen-coral": {**FROZEN, "domain": "coral", "domain.use": "features"},
    "frozen-subspace": {**FROZEN, "domain": "subspace"},
    "frozen-oracle": FROZEN,
}
SCORE = {"ner": ("entity", "strict"), "note_classification": ("notes",)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--pairs", nargs="+", choices=[*NER, *NOTES], default=[*NER, *NOTES])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--adapt_tokens", type=int, default=1_000_000, help="of pretraining in the arms `adapted`")
    parser.add_argument("--sentences", type=int, default=2000, help="of each side; about seven make an abstract")
    parser.add_argument("--notes", type=int, default=400, help="of each side of MTS-Dialog")
    parser.add_argument("--test", type=int, default=100_000, help="test sentences or notes at most")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/domains"))
    parser.add_argument("--name", default="domains")
    args = parser.parse_args()
    for pair in args.pairs:
        files = sentences(args, pair) if pair in NER else notes(args, pair)
        for seed in args.seeds:
            for arm in args.arms:
                cells.clinnlp("finetune", folder(args, pair, arm, seed), settings(args, pair, arm, seed, files))
    values = {"steps": args.steps, "adapt_tokens": args.adapt_tokens, "sentences": args.sentences, "notes": args.notes}
    cells.write(args.name, {**values, "pairs": {pair: table(args, pair) for pair in [*NER, *NOTES]}})


def folder(args: argparse.Namespace, pair: str, arm: str, seed: int) -> Path:
    return args.out / f"{pair}-{arm}-{seed}"


def settings(args: argparse.Namespace, pair: str, arm: str, seed: int, files: dict[str, Path]) -> dict[str, Any]:
    side = "target" if arm.endswith("oracle") else "source"
    base = adapted(args, pair, files) if arm.startswith("adapted") else args.base
    made = {
        "base": base, "seed": seed, "data.train": files[f"{side}-train"], "data.dev": files[f"{side}-dev"],
        "data.test": files["test"], "data.unknown_labels": "miss", "data.allow": "duplicates,groups,transductive",
        "fit.learning_rate": 1e-4, "strategy.head_learning_rate": 1e-2, "fit.max_steps": args.steps, "fit.epochs": 1000,
        "fit.evaluations": 5, "fit.patience": 0, "task.window": 256, "task.overlap": 64,
    }  # fmt: skip
    made |= {"data.format": "conll"} if pair in NER else {"task": "note_classification", "task.multi_label": "false"}
    if "domain" in ARMS[arm]:
        made["data.target"] = files["target-train"]
    return made | ARMS[arm]


def adapted(args: argparse.Namespace, pair: str, files: dict[str, Path]) -> Path:
    """The base after masked language modelling on the training notes of both sides."""
    out = args.out / f"{pair}-adapted-base"
    both = args.out / "data" / f"{pair}-both.jsonl"
    reader = Conll() if pair in NER else Jsonl()
    texts = [replace(note, id=f"{side}-{note.id}", spans=(), labels=())
             for side in ("source", "target") for note in read(files[f"{side}-train"], reader)]  # fmt: skip
    write(texts, both, Jsonl())
    return cells.clinnlp("pretrain", out, {
        "base": args.base, "data.train": both, "block": 256, "fit.batch": 16, "fit.epochs": 1000,
        "fit.max_steps": args.adapt_tokens // (256 * 16), "seed": 1,
    }) / "model"  # fmt: skip


def sentences(args: argparse.Namespace, pair: str) -> dict[str, Path]:
    """The first sentences of the CoNLL files of both sides."""
    made = {}
    for side, corpus in zip(("source", "target"), NER[pair], strict=True):
        for split, count in (("train", args.sentences), ("devel", args.sentences), ("test", args.test)):
            found = (args.corpora / "mtl_bio" / corpus / f"{split}.tsv").read_bytes().decode().split("\n\n")[:count]
            path = args.out / "data" / f"{corpus}-{split}-{count}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(("\n\n".join(found).strip("\n") + "\n").encode())
            made[f"{side}-{split.removesuffix('el')}" if split != "test" else f"{side}-test"] = path
    return {**made, "test": made["target-test"]}


def notes(args: argparse.Namespace, pair: str) -> dict[str, Path]:
    """MTS-Dialog: one half of the training visits is the source, the other the target; test notes are the target's."""
    reader = {
        name: Csv(id_field="ID", text_field=field, labels_field="section_header")
        for name, field in (("note", "section_text"), ("dialogue", "dialogue"))
    }
    main = args.corpora / "mts_dialog" / "Main-Dataset"

    def held(split: str, kind: str) -> list[Document]:
        return list(read(main / f"MTS-Dialog-{split}.csv", reader[kind]))

    kind = "dialogue" if pair == "dialogue-note" else "note"
    first, second = halves(held("TrainingSet", kind)), halves(held("TrainingSet", "note"))
    source, target = first[0][: args.notes], second[1][: args.notes]
    dev = {"source": held("ValidationSet", kind), "target": held("ValidationSet", "note")}
    test = held("TestSet-1-MEDIQA-Chat-2023", "note")[: args.test]
    if pair != "dialogue-note":
        there = partial(clipped, renamed=pair == "sites")
        target, test, dev["target"] = there(target), there(test), there(dev["target"])
    if pair == "mixed":
        source = one_in(7, source, there)
    if pair == "sites":
        source, dev["source"] = one_in(4, source, there), one_in(4, dev["source"], there)
    parts = {"source-train": source, "source-dev": dev["source"], "target-train": target, "target-dev": dev["target"]}
    made = {}
    for name, documents in {**parts, "test": test}.items():
        made[name] = args.out / "data" / f"{pair}-{name}-{len(documents)}.jsonl"
        made[name].parent.mkdir(parents=True, exist_ok=True)
        write(documents, made[name], Jsonl())
    return made


def halves(documents: list[Document]) -> tuple[list[Document], list[Document]]:
    """Two random halves, the same at every call."""
    order = list(documents)
    random.Random(13).shuffle(order)
    return order[: len(order) // 2], order[len(order) // 2 :]


def one_in(every: int, notes: list[Document], there: Callable[[list[Document]], list[Document]]) -> list[Document]:
    return [*there(notes[::every]), *(note for number, note in enumerate(notes) if number % every)]


def clipped(documents: Iterable[Document], renamed: bool) -> list[Document]:
    """Notes in a clipped style: small words left out, long words without most of their vowels, no sentence ends.

    Where sections are `renamed`, two names are used the other way round.
    """
    name = OTHER_WAY if renamed else {}
    return [
        replace(note, text=" ".join(map(clip, words(note.text))), labels=tuple(name.get(x, x) for x in note.labels))
        for note in documents
    ]


def words(text: str) -> list[str]:
    small = {"the", "a", "an", "is", "was", "has", "have", "had", "of", "to", "and", "she", "he", "her", "his", "with"}
    return [word for word in text.replace(".", " ").replace(",", " ").split() if word.lower() not in small] or ["-"]


def clip(word: str) -> str:
    if len(word) < 6 or not word.isalpha():
        return word.upper()
    return (word[0] + "".join(letter for letter in word[1:] if letter.lower() not in "aeiou")).upper()


def table(args: argparse.Namespace, pair: str) -> dict[str, Any]:
    """Scores of the finished cells of a pair, and the share of the gap to the oracle that each arm closes."""
    arms: dict[str, Any] = {}
    for arm in ARMS:
        for path in sorted(args.out.glob(f"{pair}-{arm}-?")):
            if cells.finished(path):
                micro = cells.read(path / "metrics.json")
                for key in SCORE["ner" if pair in NER else "note_classification"]:
                    micro = micro[key]
                micro = micro["micro"]
                facts = cells.read(path / "manifest.json")["facts"]
                cell = {"f1": micro["f1"], "interval": micro.get("f1_interval"), "seconds": facts["train seconds"]}
                told = ("effective sample size", "domain classifier AUC")
                cell |= {name: facts[name] for name in told if name in facts}
                arms.setdefault(arm, {"seeds": {}})["seeds"][path.name.rsplit("-", 1)[1]] = cell
    for values in arms.values():
        f1 = [cell["f1"] for cell in values["seeds"].values()]
        values |= {"mean": statistics.mean(f1), "sd": statistics.stdev(f1) if len(f1) > 1 else None}
    for arm, values in arms.items():
        before = "frozen-" if arm.startswith("frozen-") else ""
        none, oracle = (arms.get(before + name, {}).get("mean") for name in ("none", "oracle"))
        if none is not None and oracle is not None and oracle != none:
            values["gap_closed"] = (values["mean"] - none) / (oracle - none)
    return arms


if __name__ == "__main__":
    main()
