"""Windows: model-sized index ranges over the tokens of a whole note, each token owned by exactly one."""

from dataclasses import dataclass
from itertools import pairwise

from clinnlp.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens `first:last` are read by the model, tokens `own_first:own_last` are answered by it; half-open."""

    first: int
    last: int
    own_first: int
    own_last: int

    def __post_init__(self) -> None:
        if not self.first <= self.own_first < self.own_last <= self.last:
            raise ValueError(f"window {self.first}:{self.last} cannot own {self.own_first}:{self.own_last}")

    def __len__(self) -> int:
        return self.last - self.first


def windows(tokens: int, size: int, overlap: int) -> list[Window]:
    """Cut `tokens` tokens into windows of at most `size` that share `overlap` tokens with their neighbour.

    A shared token is owned by the window in which it has more context: the border lies in the middle of
    the overlap. No tokens, no windows. There are as few windows as `size` allows, all of one length, so that
    the model reads no token more often than the overlap asks for and the tail of a note has as much context
    as its middle. Raises ConfigError if they cannot advance.
    """
    if size < 1 or not 0 <= overlap < size:
        raise ConfigError(f"a window of {size} tokens cannot overlap by {overlap}", next="choose 0 <= overlap < size")
    if tokens <= 0:
        return []
    count = 1 + max(-((size - tokens) // (size - overlap)), 0)
    length = -(-(tokens + (count - 1) * overlap) // count)
    starts = [number * (tokens - length) // max(count - 1, 1) for number in range(count)]
    borders = [0, *((left + length + right) // 2 for left, right in pairwise(starts)), tokens]
    return [
        Window(first, first + length, own_first, own_last)
        for first, own_first, own_last in zip(starts, borders, borders[1:], strict=False)
    ]
