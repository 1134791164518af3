"""Does `select` rank base models as full fine-tuning does: Kendall's tau over candidates that were damaged on purpose.

    python benchmarks/selection.py --corpora CORPORA --base DIR --documents 200 --seeds 1 2 3

Candidates: the base, clinnlp-mini, the base's architecture with random weights, and the base with noise added to all
weights, with its layers in another order, with its upper half made fresh, and with its embeddings shuffled; --more adds
folders. The truth is the mean strict F1 on the official test split of NCBI-disease after fine-tuning on DOCUMENTS train
abstracts (dev chooses the weights); `select` has the same train and dev notes. Finished cells in OUT are not repeated.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells

from clinnlp.formats.base import read
from clinnlp.formats.jsonl import Jsonl
from clinnlp.formats.pubtator import Pubtator

FILES = {"train": "NCBItrainset", "dev": "NCBIdevelopset", "test": "NCBItestset"}
FOLDERS = {"train": "train", "dev": "devel", "test": "test"}
FIT = {"strategy": "full", "strategy.head_learning_rate": 1e-3, "task.window": 256, "task.overlap": 64,
       "fit.learning_rate": 1e-4, "fit.epochs": 9, "fit.batch": 8, "fit.patience": 0}  # fmt: skip


def ncbi(corpora: Path, out: Path, most: dict[str, int]) -> dict[str, Path]:
    """The official splits as JSONL, the first documents of each; an abstract that stands twice is taken once."""
    paths = {}
    for name, file in FILES.items():
        source = corpora / "ncbi_disease" / "original-data" / FOLDERS[name] / f"{file}_corpus.txt"
        documents = list({document.id: document for document in read(source, Pubtator())}.values())
        paths[name] = out / f"{name}-{most[name]}.jsonl"
        paths[name].parent.mkdir(parents=True, exist_ok=True)
        if not paths[name].exists():
            Jsonl().write(documents[: most[name]], paths[name])
    return paths


def noise(model: Any) -> None:
    """Noise of half the spread of each weight matrix."""
    import torch

    for weight in model.parameters():
        if weight.dim() > 1:
            weight.data += 0.5 * weight.data.std() * torch.randn_like(weight)


def reverse(model: Any) -> None:
    """The layers in the opposite order."""
    model.encoder.layer = type(model.encoder.layer)(list(model.encoder.layer)[::-1])


def fresh_top(model: Any) -> None:
    """Random weights in the upper half of the layers."""
    layers = list(model.encoder.layer)
    for layer in layers[len(layers) // 2 :]:
        layer.apply(model._init_weights)
        for module in layer.modules():
            if type(module).__name__ == "Linear":
                module.weight.data.normal_(0.0, model.config.initializer_range)
                module.bias.data.zero_()


def shuffled(model: Any) -> None:
    """Each entry of the vocabulary has the embedding of another."""
    import torch

    table = model.get_input_embeddings().weight.data
    table.copy_(table[torch.randperm(len(table))].clone())


def random_weights(model: Any) -> None:
    """All weights are random."""
    model.load_state_dict(type(model)(model.config).state_dict())


DAMAGES: dict[str, Callable[[Any], None]] = {
    "random": random_weights, "noise": noise, "reversed": reverse, "fresh-top": fresh_top, "shuffled": shuffled,
}  # fmt: skip


def damaged(base: Path, name: str, out: Path) -> Path:
    """A copy of the base with a damage."""
    from transformers import AutoModel, AutoTokenizer, set_seed

    folder = out / f"candidate-{name}"
    if not (folder / "config.json").exists():
        set_seed(1)
        model = AutoModel.from_pretrained(base)
        DAMAGES[name](model)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def main() -> None:
    from scipy.stats import kendalltau

    parser = argparse.ArgumentParser()
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--more", type=Path, nargs="*", default=[])
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--held-out", type=int, default=100, help="dev and test documents")
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--out", type=Path, default=Path("runs/bench/selection"))
    args = parser.parse_args()
    most = {"train": args.documents, "dev": args.held_out, "test": args.held_out}
    data = ncbi(args.corpora, args.out, most)
    named: dict[str, Path | str] = {"base": args.base, "mini": "clinnlp-mini"}
    named |= {name: damaged(args.base, name, args.out) for name in DAMAGES}
    named |= {path.parent.name if path.name == "model" else path.name: path for path in args.more}
    fit = {**FIT, "fit.epochs": args.epochs}
    truth: dict[str, list[float]] = {}
    for seed in args.seeds:
        for name, base in named.items():
            settings = {"base": base, "seed": seed, **{f"data.{part}": path for part, path in data.items()}, **fit}
            run = cells.clinnlp("finetune", args.out / f"true-{name}-{seed}", settings)
            truth.setdefault(name, []).append(cells.read(run / "metrics.json")["entity"]["strict"]["micro"]["f1"])
    candidates = "[" + ", ".join(map(str, named.values())) + "]"
    select = {"candidates": candidates, "seed": 1, "data.train": data["train"], "data.dev": data["dev"], **fit}
    run = cells.clinnlp("select", args.out / "select", select)
    told = {one["candidate"]: one for one in cells.read(run / "metrics.json")["candidates"]}
    rows = {}
    for name, base in named.items():
        known = {"candidate": name, "true_f1": truth[name], "true_mean": statistics.mean(truth[name])}
        rows[name] = {**told[str(base)], **known}
    means = [row["true_mean"] for row in rows.values()]
    taus = {"final rank": float(kendalltau([-row["rank"] for row in rows.values()], means).statistic),
            "mean rank": float(kendalltau([-row["mean_rank"] for row in rows.values()], means).statistic)}  # fmt: skip
    for criterion in ("logme", "h_score", "probe"):
        taus[criterion] = float(kendalltau([row[criterion] for row in rows.values()], means).statistic)
    seconds = cells.read(run / "manifest.json")["facts"]["seconds"]
    result = {"documents": args.documents, "seeds": args.seeds, "select_seconds": seconds, "kendall_tau": taus}
    cells.write(f"selection-ncbi-{args.documents}", {**result, "candidates": list(rows.values())})


if __name__ == "__main__":
    main()
