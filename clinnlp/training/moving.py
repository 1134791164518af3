"""A table of what is going to move: printed before training, when it can still be put right."""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch

from clinnlp.strategies.base import layer_count

PARTS = 200  # a weight's beginning is told to half a percent of the steps


def layer_rate(levels: Mapping[str, int], decay: float, rate_of: Callable[[str], float]) -> Callable[[str], float]:
    """The rate of a weight as a multiple of the top layer's: `decay` once for each layer above it, times `rate_of`.

    Raises ConfigError if there are no layers to decay over.
    """
    top = layer_count(levels, "fit.layer_decay") if decay != 1 else 0
    return lambda name: rate_of(name) * float(decay ** max(top - levels[name], 0))


def moving_table(
    model: torch.nn.Module,
    levels: Mapping[str, int],
    groups: Sequence[Mapping[str, Any]],
    moving: Callable[[float], Collection[str]],
) -> str:
    """One line for the head, the layers that are treated alike, and the embeddings.

    It says how many weights move, of how many, the lowest and highest peak rate, and the share of the steps done when
    the first of them begin to.
    """
    rates = {id(weight): float(group["lr"]) for group in groups for weight in group["params"]}
    begin: dict[str, float] = {}
    for part in range(PARTS):
        for name in moving(part / PARTS):
            begin.setdefault(name, part / PARTS)
    weights = {name: w for name, w in model.named_parameters() if ".original_module." not in name}  # peft keeps a copy

    def row(level: int) -> tuple[int, int, str, str]:
        held = {name: weight for name, weight in weights.items() if levels[name] == level}
        own = {name: weight for name, weight in held.items() if id(weight) in rates}
        counts = [sum(weight.numel() for weight in part.values()) for part in (own, held)]
        found = sorted({rates[id(weight)] for weight in own.values()})
        rate = " to ".join(f"{one:.3g}" for one in dict.fromkeys(found[:1] + found[-1:]))
        start = f"{min(begin.get(name, 1.0) for name in own):.1%}" if own else ""
        return counts[0], counts[1], rate, start

    parts = [("head", [max(levels.values())])]
    for _, numbers in groupby(range(max(levels.values()) - 1, 0, -1), key=row):
        alike = list(numbers)
        parts.append((f"layer {alike[0]}" if len(alike) == 1 else f"layers {alike[-1]}-{alike[0]}", alike))
    rows = [("weights", "trained", "of", "peak rate", "from")]
    for name, alike in [*parts, ("embeddings", [0])]:
        moved, of, rate, start = row(alike[0])
        rows.append((name, f"{moved * len(alike):,}", f"{of * len(alike):,}", rate, start))
    widths = [max(len(line[column]) for line in rows) for column in range(5)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in rows)
