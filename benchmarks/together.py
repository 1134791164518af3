"""Two models over the same notes: in separate runs, in one pass, with adapters switched or mixed in a batch.

    python benchmarks/together.py --base BASE --notes CORPORA/mtsamples/mtsamples.jsonl --first 60

The adapters (rank 16 on every linear layer of the encoder) and heads are drawn at random: only time is measured. All
arms read the same windows of 512 tokens in fp32 with one thread, in turn, `--rounds` times; processor seconds.
`switched` is peft's `set_adapter` before each batch, `mixed` one batch with each row twice and peft's `adapter_names`.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
import numpy as np
import torch

from clinnlp.core.document import Document
from clinnlp.core.schema import LabelSchema
from clinnlp.engines.base import _padded, batches, engine_named
from clinnlp.formats.base import read
from clinnlp.formats.jsonl import Jsonl
from clinnlp.labeling.model import ModelFolder
from clinnlp.labeling.predict import BATCH_TOKENS, Reading
from clinnlp.labeling.together import Member, alike, predict_together, share
from clinnlp.models.folder import Card
from clinnlp.models.load import Base
from clinnlp.strategies.lora import Lora
from clinnlp.tasks.ner import Ner

SCHEMA, TASK = LabelSchema(("A", "B")), Ner()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--notes", required=True)
    parser.add_argument("--first", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    reader = Jsonl(id_field="note_id", text_field="transcription")
    bad: list[Any] = []
    texts = {note.text: note for note in read(args.notes, reader, bad) if note.text.strip()}
    notes = list(texts.values())[: args.first]
    with tempfile.TemporaryDirectory() as place:
        adapters = [adapter(args.base, Path(place) / f"adapter{seed}", seed) for seed in (1, 2)]
        heads = [head(args.base, Path(place) / f"head{seed}", seed) for seed in (1, 2)]
        arms = {
            **separate_and_together("adapters", adapters, notes),
            **separate_and_together("adapters, packed-fp32", adapters, notes, "packed-fp32"),
            **separate_and_together("heads", heads, notes),
            **separate_and_together("heads, packed-fp32", heads, notes, "packed-fp32"),
            **unmerged(args.base, notes),
        }
        seconds: dict[str, list[float]] = {name: [] for name in arms}
        for _ in range(args.rounds):
            for name, run in arms.items():
                start = time.process_time()
                run()
                seconds[name].append(time.process_time() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    facts = {
        "notes": len(notes),
        "seconds": {name: [round(value, 2) for value in values] for name, values in seconds.items()},
        "median_seconds": {name: round(value, 2) for name, value in median.items()},
        "peak_memory_bytes_of_all": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    cells.write("together", facts)


def separate_and_together(
    what: str, folders: list[Path], notes: list[Document], engine: str = "torch"
) -> dict[str, Callable[[], Any]]:
    def members() -> list[Member]:
        return [Member.load(ModelFolder(f, None, engine_named(engine), f.name)) for f in folders]

    alone, shared = members(), members()
    groups = alike(shared)
    for group in groups:
        share([shared[number] for number in group])
    return {
        f"{what}, separate": lambda: [predict_together([one], [[0]], notes, BATCH_TOKENS) for one in alone],
        f"{what}, one pass": lambda: predict_together(shared, groups, notes, BATCH_TOKENS),
    }


def unmerged(base: Path, notes: list[Document]) -> dict[str, Callable[[], Any]]:
    """Both adapters over one base model."""
    model: Any = adapted(base, 1)
    model.add_adapter("second", model.peft_config["default"])
    model.eval()
    trained = Member.load(ModelFolder(adapter(base, Path(tempfile.mkdtemp()) / "m", 1))).trained
    names = ("default", "second")

    def rows() -> list[np.ndarray]:
        return Reading.of(trained, notes).ids

    def switched() -> None:
        given = rows()
        for batch in batches([len(row) for row in given], BATCH_TOKENS, padded=True):
            values = _padded([given[index] for index in batch], 0)
            for name in names:
                model.set_adapter(name)
                with torch.inference_mode():
                    model(**values)

    def mixed() -> None:
        given = rows()
        for batch in batches([len(row) for row in given], BATCH_TOKENS // 2, padded=True):
            values = _padded([given[index] for index in batch] * 2, 0)
            with torch.inference_mode():
                model(**values, adapter_names=[name for name in names for _ in batch])

    return {"adapters, switched": switched, "adapters, mixed": mixed}


def adapted(base: Path, seed: int) -> Any:
    torch.manual_seed(seed)
    model: Any = Lora().apply(Base(str(base)).model(TASK.model_class, TASK.head_config(SCHEMA))[0])
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.01)
    return model


def adapter(base: Path, folder: Path, seed: int) -> Path:
    return saved(adapted(base, seed), base, folder)


def head(base: Path, folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    return saved(Base(str(base)).model(TASK.model_class, TASK.head_config(SCHEMA))[0], base, folder)


def saved(model: Any, base: Path, folder: Path) -> Path:
    model.save_pretrained(folder)
    held = Base(str(base))
    held.tokenizer().save(folder)
    Card(TASK, SCHEMA, str(base), held.sha256()).write(folder)
    return folder


if __name__ == "__main__":
    main()
