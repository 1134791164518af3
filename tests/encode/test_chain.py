"""The conditional random field beside a count of all sequences of tags."""

import itertools
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clinnlp.core.schema import LabelSchema
from clinnlp.encode.chain import chain_confidence, chain_loss, decode_chain, legal_pairs
from clinnlp.encode.tags import decode_many
from clinnlp.errors import IntegrityError

ONE, TWO = LabelSchema(("A",)), LabelSchema(("A", "B"))


def drawn(seed: int, schema: LabelSchema, *lengths: int) -> tuple[list[Any], Any]:
    """Logits of sequences, and transitions, in float32."""
    draw, size = np.random.default_rng(seed), schema.tag_count
    logits = [draw.normal(size=(length, size)).astype(np.float32) * 2 for length in lengths]
    return logits, draw.normal(size=(size, size)).astype(np.float32) * 2


def paths(length: int, schema: LabelSchema, free_start: bool) -> list[tuple[int, ...]]:
    """All legal sequences of tags."""
    found = []
    for path in itertools.product(range(schema.tag_count), repeat=length):
        before = [None, *path][:length]
        pairs = list(zip(path, before, strict=True))[1 if free_start else 0 :]
        if all(schema.may_follow(tag, previous) for tag, previous in pairs):
            found.append(path)
    return found


def total(path: tuple[int, ...], logits: Any, transitions: Any) -> float:
    own = sum(float(logits[place, tag]) for place, tag in enumerate(path))
    return own + sum(float(transitions[pair]) for pair in itertools.pairwise(path))


def loss_of(logits: list[Any], tags: list[tuple[int, ...]], transitions: Any, schema: LabelSchema) -> torch.Tensor:
    width = max(map(len, tags))
    padded = np.zeros((len(tags), width, schema.tag_count), np.float32)
    targets = np.full((len(tags), width), -100)
    for row, (one, path) in enumerate(zip(logits, tags, strict=True)):
        padded[row, : len(one)], targets[row, : len(path)] = one, path
    given = (torch.from_numpy(value) for value in (padded, targets))
    return chain_loss(*given, torch.as_tensor(transitions), torch.from_numpy(legal_pairs(schema.tag_count)))


def test_legal_pairs_are_those_of_the_schema() -> None:
    assert [[TWO.may_follow(tag, before) for tag in range(5)] for before in range(5)] == legal_pairs(5).tolist()


def test_the_loss_by_hand() -> None:
    """Two units, one label, every score 0: nine pairs of tags less O I, so eight, of which one is gold."""
    zero = np.zeros((2, 3), np.float32)
    assert loss_of([zero], [(0, 1)], np.zeros((3, 3), np.float32), ONE).item() == pytest.approx(np.log(8))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_the_loss_is_that_of_all_sequences_counted(seed: int, lengths: list[int]) -> None:
    logits, transitions = drawn(seed, TWO, *lengths)
    wanted, gold = 0.0, []
    for one in logits:
        every = paths(len(one), TWO, free_start=True)
        gold.append(every[seed % len(every)])
        scores = np.array([total(path, one, transitions) for path in every])
        wanted += float(np.logaddexp.reduce(scores)) - total(gold[-1], one, transitions)
    assert loss_of(logits, gold, transitions, TWO).item() == pytest.approx(wanted, rel=1e-4, abs=1e-4)


def test_gradients_are_numbers_and_none_falls_on_a_forbidden_pair() -> None:
    logits, transitions = drawn(1, TWO, 30)
    weight = torch.tensor(transitions, requires_grad=True)
    loss_of([logits[0] * 50], [(0,) * 30], weight, TWO).backward()
    assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.abs().max() > 0
    assert (weight.grad[~torch.from_numpy(legal_pairs(5))] == 0).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 4), min_size=1, max_size=3))
def test_decoding_finds_the_best_of_all_sequences_and_its_chances(seed: int, lengths: list[int]) -> None:
    logits, transitions = drawn(seed, TWO, *lengths)
    found = decode_chain(logits, transitions, TWO)
    chances = chain_confidence(logits, found, transitions, TWO)
    for one, tags, chance in zip(logits, found, chances, strict=True):
        every = paths(len(one), TWO, free_start=False)
        scores = np.array([total(path, one, transitions) for path in every])
        assert tuple(tags) == every[int(scores.argmax())]
        odds = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        for place, tag in enumerate(tags):
            of_all = sum(odds[number] for number, path in enumerate(every) if path[place] == tag)
            assert chance[place] == pytest.approx(of_all, rel=1e-4)


def test_without_transitions_it_decodes_as_the_linear_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clinnlp.encode.chain.BATCH_CELLS", 300)
    logits, _ = drawn(3, TWO, 0, 1, 30, 7, 7, 0, 90, 2)
    for one, other in zip(decode_chain(logits, np.zeros((5, 5)), TWO), decode_many(logits, TWO), strict=True):
        assert one.tolist() == other.tolist()


def test_logits_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(IntegrityError, match="NaN logits"):
        decode_chain([np.full((2, 3), np.nan)], np.zeros((3, 3)), ONE)


def test_a_long_note_takes_a_few_seconds_at_most() -> None:
    schema = LabelSchema.of("abcdefghij")
    logits, transitions = drawn(0, schema, 20_000)
    began = time.perf_counter()
    chain_confidence(logits, decode_chain(logits, transitions, schema), transitions, schema)
    assert time.perf_counter() - began < 20  # about 1 s alone; the machine is shared
