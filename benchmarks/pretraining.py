"""Masked-LM training speed beside Trainer with DataCollatorForLanguageModeling, at the same tokens per batch.

    python benchmarks/pretraining.py --base DIR --notes CORPORA/mtsamples/mtsamples.jsonl --steps 30 --repeats 3

The two are run in turn (A B A B ...) on the same notes. Stock rows are cut and padded as `run_mlm --line_by_line` does
("padded"), or concatenated and cut as it does by default ("grouped", which glues notes together).
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import cells
import torch
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
    set_seed,
)

from clinnlp.encode.packing import PackedBlocks, TokenStore
from clinnlp.formats.base import read
from clinnlp.formats.jsonl import Jsonl
from clinnlp.models.load import Base
from clinnlp.objectives.mlm import Mlm
from clinnlp.strategies.base import parameter_groups
from clinnlp.training.fit import fit
from clinnlp.training.pretraining import BlockSource, collate_blocks, packed_loss, set_dropout
from clinnlp.training.settings import FitSettings


def ours(base: str, texts: list[str], size: int, batch: int, steps: int) -> float:
    """Note tokens per second of clinnlp."""
    chosen = Base(base)
    tokenizer = chosen.tokenizer()
    model, _ = chosen.model("AutoModelForMaskedLM")
    blocks = PackedBlocks(TokenStore.of(tokenizer.encode_many(texts)), tokenizer, size)
    objective = Mlm(rate=0.15, final_rate=0.15)  # the stock collator's rate
    objective.prepare(model)
    set_dropout(model, 0.0)
    source = BlockSource(blocks, objective, tokenizer, seed=1)
    settings = FitSettings(
        batch=batch, min_steps=steps, max_steps=steps, schedule="constant", device="cpu", precision="fp32"
    )
    groups = parameter_groups(model, [], 1e-4, 1e-4, 0.01)
    done = fit(model, source, lambda e: collate_blocks(e, 0), packed_loss(objective, True), groups, settings, 1)
    return batch * steps * float(blocks.lengths.mean()) / done.seconds


def stock(base: str, texts: list[str], size: int, batch: int, steps: int, grouped: bool) -> float:
    """Note tokens per second of a plain Trainer script; padding does not count."""
    set_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(base)
    if grouped:
        joined = [i for ids in tokenizer(texts, truncation=False, verbose=False)["input_ids"] for i in ids]
        rows = [{"input_ids": joined[at : at + size]} for at in range(0, len(joined) - size, size)]
    else:
        rows = [{"input_ids": ids} for ids in tokenizer(texts, truncation=True, max_length=size)["input_ids"]]
    model = AutoModelForMaskedLM.from_pretrained(base, dtype=torch.float32)
    seen = {"tokens": 0}
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)

    def collate(examples: list[Any]) -> Any:
        seen["tokens"] += sum(len(example["input_ids"]) for example in examples)
        return collator(examples)

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, max_steps=steps, per_device_train_batch_size=batch, learning_rate=1e-4, use_cpu=True,
            save_strategy="no", report_to="none", disable_tqdm=True, logging_strategy="no", seed=1,
        )  # fmt: skip
        trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate)
        start = time.perf_counter()
        trainer.train()
        return seen["tokens"] / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", required=True)
    parser.add_argument("--notes", required=True)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    reader = Jsonl(id_field="note_id", text_field="transcription")
    texts = sorted({d.text for d in read(args.notes, reader, []) if d.text.strip()})
    shape = (args.base, texts, args.size, args.batch, args.steps)
    arms: dict[str, Callable[[], float]] = {
        "clinnlp": lambda: ours(*shape),
        "stock, padded": lambda: stock(*shape, grouped=False),
        "stock, grouped": lambda: stock(*shape, grouped=True),
    }
    speeds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(args.repeats):
        for name, work in arms.items():
            speeds[name].append(work())
            print(f"{name:<16} {speeds[name][-1]:.0f} tokens/s", flush=True)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratios = {
        name: statistics.median(a / b for a, b in zip(speeds["clinnlp"], values, strict=True))
        for name, values in speeds.items()
    }
    shown = {"row_size": args.size, "rows_per_batch": args.batch, "steps": args.steps}
    cells.write("pretraining-speed", {**shown, "tokens_per_second": speeds, "median": medians, "clinnlp_over": ratios})


if __name__ == "__main__":
    main()
