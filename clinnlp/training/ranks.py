"""What processes that train one model must agree on; alone, all of it is at hand."""

import os
from typing import Any

import torch
import torch.distributed as dist

from clinnlp.core import ranks


class Ranks:
    """The processes that train together on a kind of device."""

    def __init__(self, device: str, seed: int) -> None:
        self.count, self.rank, self.seed = ranks.ranks(), ranks.rank(), seed
        if self.count > 1 and device == "cuda":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        if self.count > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if device == "cuda" else "gloo")

    @property
    def backend(self) -> str | None:
        """How they talk; None for one process."""
        return str(dist.get_backend()) if self.count > 1 else None

    def agreed(self, value: Any) -> Any:
        """The value of the first process."""
        if self.count == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def largest(self, *values: float) -> list[float]:
        """Of each value the largest of all processes."""
        if self.count == 1:
            return [*values]
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, values)
        return [max(held) for held in zip(*found, strict=True)]

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of a scalar over all processes."""
        if self.count == 1:
            return value
        summed = value.detach().clone()
        dist.all_reduce(summed)
        return summed / self.count

    def reseed(self, step: int) -> None:
        """Set torch's generators for a step of this process, to a state of (seed, step, rank) alone."""
        torch.manual_seed((self.seed * 1_000_003 + step) * self.count + self.rank)
