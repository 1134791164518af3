"""Packing keeps notes apart, or says that it cannot; perplexity is measured on the same masks every time."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM

from clinnlp.encode.marks import MarkedText
from clinnlp.encode.packing import PackedBlocks, TokenStore, attention, best_fit
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.encode.varlen import use_varlen
from clinnlp.objectives.mlm import Mlm
from clinnlp.training.dropout import set_dropout
from clinnlp.training.fit import fit
from clinnlp.training.loader import Draw
from clinnlp.training.pretraining import (
    FIXED_EPOCH,
    BlockSource,
    accuracy,
    can_pack,
    generators,
    mean_loss,
)
from clinnlp.training.settings import FitSettings
from tests.tiny import TOKENIZER_OF, sentences

Tiny = Callable[[str], Path]
PACKING = {"bert": True, "roberta": True, "electra": True, "modernbert": True, "deberta_v2": False}


def load(tiny: Tiny, kind: str) -> tuple[Any, NoteTokenizer]:
    return AutoModelForMaskedLM.from_pretrained(tiny(kind)).eval(), NoteTokenizer.load(tiny(kind))


def source(tokenizer: NoteTokenizer, texts: list[str], packed: bool, size: int = 64) -> BlockSource:
    return BlockSource(PackedBlocks(store_of(tokenizer, texts), tokenizer, size, packed), Mlm(), tokenizer, 1)


def store_of(tokenizer: NoteTokenizer, texts: list[str]) -> TokenStore:
    return TokenStore.of(tokenizer, map(MarkedText, texts))


def test_every_architecture_is_judged() -> None:
    assert PACKING.keys() == TOKENIZER_OF.keys()


@pytest.mark.parametrize("kind", PACKING)
def test_can_pack_tells_the_architectures_apart(kind: str, tiny: Tiny) -> None:
    model, tokenizer = load(tiny, kind)
    assert can_pack(model, tokenizer, 64) is PACKING[kind]
    use_varlen(model)
    assert can_pack(model, tokenizer, 64) is PACKING[kind]


@pytest.mark.parametrize("kind", [kind for kind, able in PACKING.items() if able])
def test_packed_logits_equal_those_of_the_pieces_alone(kind: str, tiny: Tiny) -> None:
    model, tokenizer = load(tiny, kind)
    store = store_of(tokenizer, [*sentences(4), "fever"])
    packed, alone = PackedBlocks(store, tokenizer, 100), PackedBlocks(store, tokenizer, 100, pack=False)
    assert len(packed) < len(alone) == 5
    wanted = {}
    with torch.inference_mode():
        for index in range(len(alone)):
            ids = alone.take([index]).ids
            wanted[tuple(ids[0].tolist())] = model(input_ids=torch.from_numpy(ids)).logits[0]
        for index in range(len(packed)):
            row = packed.take([index])
            ids, pieces, positions = map(torch.from_numpy, (row.ids, row.pieces, row.positions))
            logits = model(input_ids=ids, **attention(model, pieces, positions, packed=True)).logits[0]
            for number in range(int(row.pieces.max()) + 1):
                mine = row.pieces[0] == number
                expected = wanted.pop(tuple(row.ids[0, mine].tolist()))
                assert torch.allclose(logits[torch.from_numpy(mine)], expected, atol=1e-5)
    assert not wanted


@pytest.mark.parametrize("kind", [kind for kind, able in PACKING.items() if able])
def test_pieces_computed_alone_are_those_behind_a_mask(kind: str, tiny: Tiny) -> None:
    model, tokenizer = load(tiny, kind)
    other, _ = load(tiny, kind)
    use_varlen(other)
    blocks = PackedBlocks(store_of(tokenizer, [*sentences(9), "fever"]), tokenizer, 100)
    rows = blocks.take(range(len(blocks)))
    assert len(rows.lengths) > 1 and rows.pieces.min() == -1, "several rows, some filled up"
    ids, pieces, positions = map(torch.from_numpy, (rows.ids, rows.pieces, rows.positions))
    for packed in (True, False):  # without pieces a row is one, behind a plain mask
        kept = (pieces >= 0) if packed else (pieces == 0)
        apart = pieces if packed else torch.where(kept, 0, -1)
        logits = []
        for one in (model, other):
            given = attention(one, apart, positions, packed)
            logits.append(one(input_ids=ids, **given).logits[kept])
            logits[-1].square().mean().backward()
        assert torch.allclose(*logits, atol=1e-5)
        gradients = zip(model.parameters(), other.parameters(), strict=True)
        assert all(a.grad is None or torch.allclose(a.grad, b.grad, atol=1e-5) for a, b in gradients)


def test_a_piece_changes_nothing_in_its_neighbours(tiny: Tiny) -> None:
    model, tokenizer = load(tiny, "bert")
    row = PackedBlocks(store_of(tokenizer, ["fever and cough", "pain"]), tokenizer, 64).take([0])
    ids, pieces, positions = map(torch.from_numpy, (row.ids, row.pieces, row.positions))
    given = attention(model, pieces, positions, packed=True)
    other = ids.clone()
    other[pieces == 1] = tokenizer.mask_id
    with torch.inference_mode():
        before, after = model(input_ids=ids, **given).logits, model(input_ids=other, **given).logits
    assert torch.equal(before[pieces == 0], after[pieces == 0])
    assert not torch.allclose(before[pieces == 1], after[pieces == 1])


def test_every_token_of_the_corpus_is_in_the_blocks_once(tiny: Tiny) -> None:
    tokenizer = NoteTokenizer.load(tiny("wordpiece"))
    texts = [*sentences(7), " ".join(sentences(30)), "", "fever"]
    notes = tokenizer.encode_many(texts)
    blocks = PackedBlocks(store_of(tokenizer, texts), tokenizer, 40)
    rows = blocks.take(range(len(blocks)))
    assert sorted(rows.ids[~rows.special]) == sorted(np.concatenate([note.ids for note in notes]))
    assert blocks.lengths.max() <= 40
    assert (rows.pieces >= 0).sum(axis=1).tolist() == rows.lengths.tolist() == blocks.lengths.tolist()
    assert (rows.ids[rows.pieces < 0] == tokenizer.pad_id).all()
    assert (rows.positions[:, 0] == 0).all() and (rows.positions[rows.special & (rows.positions > 0)] > 0).all()


def test_best_fit_by_hand() -> None:
    assert best_fit([6, 4, 3, 3, 7], 10) == [[4, 2], [0, 1], [3]]
    assert best_fit([], 10) == []


def test_perplexity_has_fixed_masks(tiny: Tiny) -> None:
    model, tokenizer = load(tiny, "bert")
    blocks = source(tokenizer, sentences(20), packed=True)
    blocks.objective.prepare(model)
    first, targets = mean_loss(model, blocks, 3)
    again, same = mean_loss(model, blocks, 8)
    assert targets == same > 20
    assert first == pytest.approx(again, abs=1e-5)
    assert math.exp(first) == pytest.approx(tokenizer.vocab_size, rel=0.1)  # a random model guesses evenly


@pytest.mark.parametrize("kind", ["bert", "deberta_v2"])
def test_training_lowers_the_held_out_loss_packed_or_not(kind: str, tiny: Tiny) -> None:
    model, tokenizer = load(tiny, kind)
    packed = PACKING[kind]
    train, held_out = source(tokenizer, sentences(60), packed), source(tokenizer, sentences(80)[60:], packed)
    train.objective.prepare(model)
    set_dropout(model, 0.0)
    before, _ = mean_loss(model, held_out, 8)
    settings = FitSettings(
        min_steps=20, max_steps=20, batch=8, learning_rate=3e-3, warmup=0.0, precision="fp32", device="cpu"
    )
    groups = [{"params": list(model.parameters()), "lr": 3e-3}]
    fitted = fit(model, train, groups, settings, 1)
    after, _ = mean_loss(model, held_out, 8)
    assert fitted.steps == 20
    assert after < before - 0.3


def test_a_row_is_the_same_in_any_batch(tiny: Tiny) -> None:
    blocks = PackedBlocks(
        store_of(NoteTokenizer.load(tiny("bytebpe")), [" ".join(sentences(9)), "fever", *sentences(5)]),
        NoteTokenizer.load(tiny("bytebpe")),
        50,
    )
    every = blocks.take(range(len(blocks)))
    for index in range(len(blocks)):
        alone, size = blocks.take([index]), int(blocks.lengths[index])
        for name in ("ids", "marks", "pieces", "positions"):
            assert (getattr(alone, name)[0] == getattr(every, name)[index, :size]).all()


def test_collate_pads_with_what_no_loss_reads(tiny: Tiny) -> None:
    tokenizer = NoteTokenizer.load(tiny("wordpiece"))
    blocks = source(tokenizer, ["fever", "chest pain and fever"], packed=False)
    batch = blocks.collate([blocks.example(Draw(0, index, 0.0)) for index in (0, 1)])
    short = int(blocks.lengths[0])
    assert batch["input_ids"].shape == batch["labels"].shape
    assert (batch["labels"][0, short:] == -100).all()
    assert (batch["pieces"][0, short:] == -1).all()
    assert (batch["input_ids"][0, short:] == tokenizer.pad_id).all()


def test_generators_depend_on_seed_epoch_and_block_alone() -> None:
    def numbers(seed: int, draws: list[Draw]) -> list[list[int]]:
        return [random.integers(0, 2**63, 40).tolist() for random in generators(seed, draws)]

    draws = [Draw(epoch, index, 0.0) for epoch in range(3) for index in range(3)]
    forwards = numbers(1, draws)
    assert forwards == numbers(1, draws[::-1])[::-1]
    drawn = [number for row in [*forwards, *numbers(2, draws)] for number in row]
    assert len(set(drawn)) == len(drawn), "no two share a stretch of the sequence"


def test_accuracy_counts_first_guesses(tiny: Tiny) -> None:
    model, tokenizer = load(tiny, "bert")
    blocks = source(tokenizer, sentences(12), packed=True)
    blocks.objective.prepare(model)
    right = every = 0
    with torch.inference_mode():
        for index in range(len(blocks.lengths)):
            given = blocks.collate([Draw(FIXED_EPOCH, index, 1.0)])
            kept_apart = attention(model, given["pieces"], given["positions"], packed=True)
            guessed = model(input_ids=given["input_ids"], **kept_apart).logits.argmax(-1)
            told = given["labels"] != -100
            right += int((guessed == given["labels"])[told].sum())
            every += int(told.sum())
    assert accuracy(model, blocks, 4) == (right / every, every)
