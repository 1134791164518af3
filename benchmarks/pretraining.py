"""Masked-LM training speed beside Trainer with DataCollatorForLanguageModeling, at the same tokens per batch.

    python benchmarks/pretraining.py --base DIR --notes CORPORA/mtsamples/mtsamples.jsonl --steps 12 --repeats 3

The arms are run in turn (A B C A B C ...) on the same notes, with 15 % of the tokens hidden; ours without dropout, as
`pretrain` does by default, stock without or, with --as_shipped, with the dropout of the base's config, as its script
does.
Stock rows are cut and padded as `run_mlm --line_by_line` does ("padded"), or concatenated and cut as it does by default
("grouped", which glues notes together). Times are processor seconds from the end of the first step to that of the
last; padding does not count as tokens.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import cells
import torch
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from clinnlp.encode.marks import MarkedText
from clinnlp.encode.packing import PackedBlocks, TokenStore
from clinnlp.formats.base import read
from clinnlp.formats.jsonl import Jsonl
from clinnlp.models.load import Base
from clinnlp.objectives.mlm import Mlm
from clinnlp.strategies.base import parameter_groups
from clinnlp.training.fit import fit
from clinnlp.training.pretraining import BlockSource, set_dropout
from clinnlp.training.settings import FitSettings

Precision = Literal["fp32", "bf16"]


def ours(base: str, texts: list[str], size: int, batch: int, steps: int, precision: Precision) -> float:
    """Note tokens per processor second of clinnlp."""
    chosen = Base(base)
    tokenizer = chosen.tokenizer()
    model, _ = chosen.model("AutoModelForMaskedLM")
    blocks = PackedBlocks(TokenStore.of(tokenizer, map(MarkedText, texts)), tokenizer, size)
    objective = Mlm(rate=0.15, final_rate=0.15)  # the stock collator's rate
    objective.prepare(model)
    set_dropout(model, 0.0)
    source = BlockSource(blocks, objective, tokenizer, seed=1)
    settings = FitSettings(
        batch=batch, min_steps=steps, max_steps=steps, schedule="constant", device="cpu", precision=precision
    )
    groups = parameter_groups(model, [], 1e-4, 1e-4, 0.01)
    done = fit(model, source, groups, settings, 1)
    spent = done.history[-1]["cpu_seconds"] - done.history[0]["cpu_seconds"]
    return batch * (steps - 1) * float(blocks.lengths.mean()) / spent


def stock(
    base: str, texts: list[str], size: int, batch: int, steps: int, precision: Precision, grouped: bool, shipped: bool
) -> float:
    """Note tokens per processor second of a plain Trainer script."""
    set_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(base)
    if grouped:
        joined = [i for ids in tokenizer(texts, truncation=False, verbose=False)["input_ids"] for i in ids]
        rows = [{"input_ids": joined[at : at + size]} for at in range(0, len(joined) - size, size)]
    else:
        rows = [{"input_ids": ids} for ids in tokenizer(texts, truncation=True, max_length=size)["input_ids"]]
    model = AutoModelForMaskedLM.from_pretrained(base, dtype=torch.float32)
    if not shipped:
        set_dropout(model, 0.0)
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    tokens: list[int] = []  # of each batch
    clock: list[float] = []  # at the end of each step

    def collate(examples: list[Any]) -> Any:
        tokens.append(sum(len(example["input_ids"]) for example in examples))
        return collator(examples)

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, max_steps=steps, per_device_train_batch_size=batch, learning_rate=1e-4, use_cpu=True,
            save_strategy="no", report_to="none", disable_tqdm=True, logging_strategy="no", seed=1,
            bf16=precision == "bf16",
        )  # fmt: skip
        Trainer(
            model=model, args=arguments, train_dataset=rows, data_collator=collate, callbacks=[Clock()]
        ).train()  # fmt: skip
    return sum(tokens[1:steps]) / (clock[-1] - clock[0])


def peak(rows: int) -> float:
    """Billions of operations a second of fp32 matrix products at the shape of a small encoder's layer."""
    one, other = torch.randn(rows, 384), torch.randn(384, 1536)
    times = []
    for _ in range(10):
        begun = time.process_time()
        one @ other
        times.append(time.process_time() - begun)
    return round(2 * rows * 384 * 1536 / min(times) / 1e9, 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", required=True)
    parser.add_argument("--notes", required=True)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--as_shipped", action="store_true", help="stock keeps its dropout")
    parser.add_argument("--name", default="pretraining-speed")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    args = parser.parse_args()
    reader = Jsonl(id_field="note_id", text_field="transcription")
    texts = sorted({d.text for d in read(args.notes, reader, []) if d.text.strip()})
    shape = (args.base, texts, args.size, args.batch, args.steps)
    arms: dict[str, Callable[[], float]] = {}
    for precision in args.precisions:
        arms[f"clinnlp, {precision}"] = partial(ours, *shape, precision)
        arms[f"stock padded, {precision}"] = partial(stock, *shape, precision, grouped=False, shipped=args.as_shipped)
        arms[f"stock grouped, {precision}"] = partial(stock, *shape, precision, grouped=True, shipped=args.as_shipped)
    speeds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(args.repeats):
        for name, work in arms.items():
            speeds[name].append(work())
            print(f"{name:<22} {speeds[name][-1]:.0f} tokens/s", flush=True)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratios = {
        name: {
            other: statistics.median(a / b for a, b in zip(speeds[name], values, strict=True))
            for other, values in speeds.items()
            if other.startswith("stock")
        }
        for name in speeds
        if name.startswith("clinnlp")
    }
    shown = {"row_size": args.size, "rows_per_batch": args.batch, "steps": args.steps}
    shown |= {"stock_dropout": "of the config" if args.as_shipped else 0.0, "gemm_gflops": peak(args.size * args.batch)}
    cells.write(args.name, {**shown, "tokens_per_second": speeds, "median": medians, "ratio": ratios})


if __name__ == "__main__":
    main()
