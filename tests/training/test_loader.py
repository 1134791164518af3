"""The order of examples is a pure function of seed and epoch."""

import numpy as np

from clinnlp.training.loader import Draw, EpochBatches, generator


def epoch(sampler: EpochBatches, number: int) -> list[list[Draw]]:
    sampler.set_epoch(number)
    return list(sampler)


def test_each_example_once_and_the_batches_are_as_many_as_told() -> None:
    batches = EpochBatches([5] * 103, 10, seed=1, steps=100)
    drawn = epoch(batches, 0)
    assert len(drawn) == len(batches) == 11
    assert sorted(draw.index for batch in drawn for draw in batch) == list(range(103))


def test_order_depends_on_seed_and_epoch_alone() -> None:
    lengths = np.arange(50)
    first, again = EpochBatches(lengths, 8, 1, 20), EpochBatches(lengths, 8, 1, 20)
    later = epoch(first, 1)
    assert epoch(again, 1) == later, "whatever was drawn before"
    assert epoch(first, 0) != later
    assert epoch(EpochBatches(lengths, 8, 2, 20), 1) != later


def test_rows_of_a_batch_are_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(10, 500, 1000)
    batches = EpochBatches(lengths, 10, 1, 100)
    spread = [np.ptp(lengths[[draw.index for draw in batch]]) for batch in epoch(batches, 0)]
    assert np.mean(spread) < 25
    longest = [max(lengths[draw.index] for draw in batch) for batch in epoch(batches, 0)]
    assert longest != sorted(longest, reverse=True), "batches are shuffled again"


def test_progress_runs_from_0_to_1() -> None:
    batches = EpochBatches([1] * 40, 10, 1, steps=8)
    told = [batch[0].progress for number in (0, 1) for batch in epoch(batches, number)]
    assert told == [n / 8 for n in range(8)]
    assert epoch(batches, 5)[0][0].progress == 1.0


def test_the_generator_is_counter_based() -> None:
    draw = generator(1, 2, 3).random()
    assert generator(1, 2, 3).random() == draw
    assert len({draw, generator(2, 2, 3).random(), generator(1, 3, 2).random(), generator(1, 2).random()}) == 4
