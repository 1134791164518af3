"""The order of examples is a pure function of seed and epoch."""

import numpy as np
import pytest

from clinnlp.training.loader import Batches, Draw, generator


def epoch(lengths: object, batch: int, seed: int, number: int) -> list[list[Draw]]:
    per_epoch = -(-len(lengths) // batch)
    return list(Batches(lengths, batch, seed, (number + 1) * per_epoch, number * per_epoch))


def test_each_example_once_and_the_batches_are_as_many_as_told() -> None:
    batches = Batches([5] * 103, 10, seed=1, total=11)
    drawn = list(batches)
    assert len(drawn) == len(batches) == 11
    assert sorted(draw.index for batch in drawn for draw in batch) == list(range(103))


def test_order_depends_on_seed_and_epoch_alone() -> None:
    lengths = np.arange(50)
    later = [[draw.index for draw in batch] for batch in epoch(lengths, 8, 1, 1)]
    assert [[draw.index for draw in batch] for batch in epoch(lengths, 8, 1, 1)] == later
    assert [[draw.index for draw in batch] for batch in epoch(lengths, 8, 1, 0)] != later
    assert [[draw.index for draw in batch] for batch in epoch(lengths, 8, 2, 1)] != later


@pytest.mark.parametrize("first", [0, 1, 6, 7, 8, 20, 23, 24])
def test_the_stream_goes_on_at_any_batch(first: int) -> None:
    lengths = np.arange(50)
    whole = list(Batches(lengths, 8, 1, 24))
    assert list(Batches(lengths, 8, 1, 24, first)) == whole[first:]


def test_rows_of_a_batch_are_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(10, 500, 1000)
    batches = epoch(lengths, 10, 1, 0)
    spread = [np.ptp(lengths[[draw.index for draw in batch]]) for batch in batches]
    assert np.mean(spread) < 25
    longest = [max(lengths[draw.index] for draw in batch) for batch in batches]
    assert longest != sorted(longest, reverse=True), "batches are shuffled again"


def test_progress_runs_from_0_to_1() -> None:
    drawn = list(Batches([1] * 40, 10, 1, total=8))
    assert [batch[0].progress for batch in drawn] == [n / 8 for n in range(8)]
    assert [batch[0].epoch for batch in drawn] == [0] * 4 + [1] * 4


def test_the_generator_is_counter_based() -> None:
    draw = generator(1, 2, 3).random()
    assert generator(1, 2, 3).random() == draw
    assert len({draw, generator(2, 2, 3).random(), generator(1, 3, 2).random(), generator(1, 2).random()}) == 4
