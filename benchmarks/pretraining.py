"""Masked-LM training speed beside Trainer with DataCollatorForLanguageModeling, at the same tokens per batch.

    python benchmarks/pretraining.py --base DIR --notes CORPORA/mtsamples/mtsamples.jsonl --steps 12 --repeats 3
    python benchmarks/pretraining.py ... --threads 2 --as_shipped --size 512 --name pretraining-speed-two-cores

The arms are run in turn (A B C A B C ...) on the same notes, with 15 % of the tokens hidden; ours without dropout, as
`pretrain` does by default, stock without or, with --as_shipped, with the dropout of the base's config, as its script
does.
Stock rows are cut and padded as `run_mlm --line_by_line` does ("padded"), or concatenated and cut as it does by default
("grouped", which glues notes together). Times are processor seconds, or with more than one thread seconds by the clock,
from the end of the first step to that of the last; padding does not count as tokens. The peaks are those of matrix
products of the base's inner layer, with as many rows as a batch has tokens; the share is that of our products.
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
    AutoConfig,
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
from clinnlp.training.dropout import set_dropout
from clinnlp.training.fit import fit
from clinnlp.training.pretraining import BlockSource
from clinnlp.training.settings import FitSettings

Precision = Literal["fp32", "bf16"]


def ours(base: str, texts: list[str], size: int, batch: int, steps: int, precision: Precision) -> float:
    """Note tokens per second of clinnlp."""
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
    kind = "cpu_seconds" if torch.get_num_threads() == 1 else "seconds"
    spent = done.history[-1][kind] - done.history[0][kind]
    return batch * (steps - 1) * float(blocks.lengths.mean()) / spent


def stock(
    base: str, texts: list[str], size: int, batch: int, steps: int, precision: Precision, grouped: bool, shipped: bool
) -> float:
    """Note tokens per second of a plain Trainer script."""
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
            clock.append(now())

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


def now() -> float:
    """Seconds of the processor, or by the clock where several threads share the work."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def peak(rows: int, config: Any, precision: Precision) -> float:
    """Billions of operations a second of matrix products at the shape of the base's inner layer."""
    kind = torch.float32 if precision == "fp32" else torch.bfloat16
    one = torch.randn(rows, config.hidden_size, dtype=kind)
    other = torch.randn(config.hidden_size, config.intermediate_size, dtype=kind)
    times = []
    for _ in range(20):
        begun = now()
        one @ other
        times.append(now() - begun)
    return round(2 * rows * config.hidden_size * config.intermediate_size / min(times) / 1e9, 1)


def operations(config: Any, size: int, rate: float) -> float:
    """Billions of operations of matrix products a token takes in training: three times those of one pass forward."""
    hidden, inner = config.hidden_size, config.intermediate_size
    layer = 4 * hidden * hidden + 2 * hidden * inner + 2 * size * hidden  # attention over the whole row
    head = rate * (hidden * hidden + hidden * config.vocab_size)
    return 3 * 2 * (config.num_hidden_layers * layer + head) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", required=True)
    parser.add_argument("--notes", required=True)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--as_shipped", action="store_true", help="stock keeps its dropout")
    parser.add_argument("--name", default="pretraining-speed")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
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
    shown |= {"threads": args.threads, "stock_dropout": "of the config" if args.as_shipped else 0.0}
    config, tokens = AutoConfig.from_pretrained(args.base), args.size * args.batch
    shown["gemm_gflops"] = peaks = {precision: peak(tokens, config, precision) for precision in args.precisions}
    shown["share_of_peak"] = {
        precision: medians[f"clinnlp, {precision}"] * operations(config, args.size, 0.15) / peaks[precision]
        for precision in args.precisions
    }
    cells.write(args.name, {**shown, "tokens_per_second": speeds, "median": medians, "ratio": ratios})


if __name__ == "__main__":
    main()
