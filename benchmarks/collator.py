"""Masking beside transformers' DataCollatorForLanguageModeling: rows of note tokens to a masked batch.

    python benchmarks/collator.py --base DIR --notes CORPORA/mtsamples/mtsamples.jsonl

All arms get the same packed rows in the same batches, full ones, and hide 15 % of the tokens; a round is up to a
million tokens.
"collator": ours from the token store to the batch, which includes building the rows, `pieces` and `positions`; stock
from rows of Python lists with `special_tokens_mask` (and `offset_mapping` for whole words), as a tokenizer gives them.
"masks alone": both from a batch that is padded already. The arms run in turn, one thread, processor seconds.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import cells
import numpy as np
import torch
import transformers
from transformers import AutoTokenizer, DataCollatorForLanguageModeling

from clinnlp.core.document import Document
from clinnlp.encode.marks import MarkedText
from clinnlp.encode.packing import PackedBlocks, TokenStore
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.formats.base import read_records
from clinnlp.formats.jsonl import Jsonl
from clinnlp.objectives.mlm import Mlm
from clinnlp.objectives.whole_word_mlm import WholeWordMlm
from clinnlp.training.loader import Draw
from clinnlp.training.pretraining import BlockSource, generators

TOKENS = 1_000_000
FLOORS = {"token": 20, "whole word": 100}
Arm = Callable[[int], Any]  # does the batch of that number


def features(blocks: PackedBlocks, offsets: list[tuple[int, int]], index: int) -> dict[str, list[Any]]:
    """A block as the stock collator takes it."""
    prefix, suffix = blocks.prefix.tolist(), blocks.suffix.tolist()
    row: dict[str, list[Any]] = {"input_ids": [], "special_tokens_mask": [], "offset_mapping": []}
    for first, last in blocks.pieces[blocks.starts[index] : blocks.starts[index + 1]].tolist():
        row["input_ids"] += [*prefix, *blocks.store.ids[first:last].tolist(), *suffix]
        row["special_tokens_mask"] += [1] * len(prefix) + [0] * (last - first) + [1] * len(suffix)
        row["offset_mapping"] += [(0, 0)] * len(prefix) + offsets[first:last] + [(0, 0)] * len(suffix)
    return row


def stock_arms(base: str, rows: list[list[dict[str, list[Any]]]]) -> dict[str, Arm]:
    """The collators of transformers over batches of features, and their masks alone."""
    hf = AutoTokenizer.from_pretrained(base)
    plain = [[{k: v for k, v in row.items() if k != "offset_mapping"} for row in batch] for batch in rows]
    padded = [hf.pad(batch, return_tensors="pt") for batch in plain]
    arms: dict[str, Arm] = {}
    for tensors, name in (("pt", "stock"), ("np", "stock, numpy")):
        token = DataCollatorForLanguageModeling(hf, mlm_probability=0.15, return_tensors=tensors)
        word = DataCollatorForLanguageModeling(
            hf, mlm_probability=0.15, return_tensors=tensors, whole_word_mask=True,
            mask_replace_prob=1.0, random_replace_prob=0.0,
        )  # fmt: skip
        arms[f"token, {name}"] = lambda number, run=token: run(plain[number])
        arms[f"whole word, {name}"] = lambda number, run=word: run(rows[number])
    alone = DataCollatorForLanguageModeling(hf, mlm_probability=0.15)

    def masks(number: int) -> Any:
        batch = padded[number]
        return alone.torch_mask_tokens(batch["input_ids"].clone(), batch["special_tokens_mask"])

    return arms | {"token, stock, masks alone": masks}


def our_arms(sources: dict[str, BlockSource], batches: list[list[Draw]]) -> dict[str, Arm]:
    """Our sources over the same batches, and their masks alone."""
    blocks, tokenizer = next(iter(sources.values())).blocks, next(iter(sources.values())).tokenizer
    built = [blocks.take([draw.index for draw in draws]) for draws in batches]
    arms: dict[str, Arm] = {}
    for name, source in sources.items():

        def masks(number: int, source: BlockSource = source) -> Any:
            return source.objective.corrupt(built[number], tokenizer, 1.0, generators(1, batches[number]))

        arms[f"{name}, clinnlp"] = lambda number, source=source: source.collate(batches[number])
        arms[f"{name}, clinnlp, masks alone"] = masks
    return arms


def measure(arms: dict[str, Arm], batches: int, repeats: int) -> dict[str, list[float]]:
    """Processor seconds of each arm over all batches, in each round; one round before them is not counted."""
    spent: dict[str, list[float]] = {name: [] for name in arms}
    for round_number in range(repeats + 1):
        for name, arm in arms.items():
            start = time.process_time()
            for number in range(batches if round_number else 2):
                arm(number)
            if round_number:
                spent[name].append(time.process_time() - start)
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", required=True)
    parser.add_argument("--notes", required=True)
    parser.add_argument("--text-field", default="transcription")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)

    records = read_records(given.notes, Jsonl(id_field="note_id", text_field=given.text_field))
    texts = list(dict.fromkeys(note.text for note in records if isinstance(note, Document) and note.text.strip()))
    tokenizer = NoteTokenizer.load(given.base)
    offsets = [(a, b) for note in tokenizer.encode_many(texts) for a, b in note.offsets.tolist()]
    blocks = PackedBlocks(TokenStore.of(tokenizer, [MarkedText(text) for text in texts]), tokenizer, given.size)
    full = np.flatnonzero(blocks.lengths == given.size)  # stock whole-word masking cannot pad its offsets
    order = np.random.default_rng(0).permutation(full)
    count = min(len(order), TOKENS // given.size) // given.batch
    batches = [
        [Draw(0, int(index), 1.0) for index in order[at * given.batch : (at + 1) * given.batch]] for at in range(count)
    ]
    tokens = sum(int(blocks.lengths[draw.index]) for draws in batches for draw in draws)

    sources = {
        "token": BlockSource(blocks, Mlm(rate=0.15, final_rate=0.15), tokenizer, 1),
        "whole word": BlockSource(blocks, WholeWordMlm(rate=0.15, final_rate=0.15), tokenizer, 1),
    }
    rows = [[features(blocks, offsets, draw.index) for draw in draws] for draws in batches]
    spent = measure(our_arms(sources, batches) | stock_arms(given.base, rows), count, given.repeats)

    def times(slow: str, fast: str) -> float:
        return round(statistics.median(a / b for a, b in zip(spent[slow], spent[fast], strict=True)), 1)

    result = {
        "tokens": tokens, "row": given.size, "batch": given.batch, "batches": count, "rounds": given.repeats,
        "transformers": transformers.__version__, "numpy": np.__version__,
        "processor seconds of a million tokens, medians": {
            name: round(1e6 * statistics.median(values) / tokens, 4) for name, values in spent.items()
        },
        "collator, times stock (asked)": {
            name: [times(f"{name}, stock", f"{name}, clinnlp"), floor] for name, floor in FLOORS.items()
        },
        "collator, times stock with numpy": {
            name: times(f"{name}, stock, numpy", f"{name}, clinnlp") for name in FLOORS
        },
        "masks alone, times stock": times("token, stock, masks alone", "token, clinnlp, masks alone"),
    }  # fmt: skip
    cells.write("collator", result)


if __name__ == "__main__":
    main()
