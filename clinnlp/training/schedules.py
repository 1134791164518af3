"""Learning-rate curves, as multiples of the peak rate."""

import math
from collections.abc import Callable

FLOOR = 0.001  # wsd ends at this share of the peak
RATIO = 32  # slanted_triangular begins and ends at the peak over this


def curve(name: str, steps: int, warmup: float, decay: float) -> Callable[[int], float]:
    """The factor at each optimizer step: a linear warmup, then linear, cosine, constant or wsd; or slanted triangular.

    wsd is warmup-stable-decay with a 1-sqrt decay over the last `decay` share (Haegele et al. 2024); a slanted triangle
    rises over the warmup and falls from there (Howard and Ruder 2018).
    """
    warm = max(round(steps * warmup), 1)
    decaying = max(round(steps * decay), 1)

    def factor(step: int) -> float:
        share = min((step - warm) / max(steps - warm, 1), 1.0)
        if name == "slanted_triangular":
            height = step / warm if step < warm else 1.0 - share
            return (1.0 + height * (RATIO - 1)) / RATIO
        if step < warm:
            return (step + 1) / (warm + 1)
        if name == "linear":
            return 1.0 - share
        if name == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * share))
        if name == "wsd" and step > steps - decaying:
            return max(1.0 - math.sqrt(min((step - steps + decaying) / decaying, 1.0)), FLOOR)
        return 1.0

    return factor
