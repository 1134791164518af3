"""Which device and which number format to compute with."""

import time
from typing import TYPE_CHECKING, Literal

from clinnlp.errors import ConfigError

if TYPE_CHECKING:
    import torch


def choose_device(wanted: str) -> Literal["cpu", "cuda"]:
    """`cuda` where wanted and present. Raises ConfigError if it is asked for by name and missing."""
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no GPU that torch can use", where="fit.device", next="use --fit.device auto")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def choose_precision(wanted: str, device: str) -> Literal["fp32", "bf16"]:
    """`bf16` where asked for, or where `auto` finds its matrix products half as fast again as fp32 ones."""
    import torch

    if wanted != "auto":
        return "bf16" if wanted == "bf16" else "fp32"
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if _seconds(torch.float32) > 1.5 * _seconds(torch.bfloat16) else "fp32"


def _seconds(dtype: "torch.dtype") -> float:
    """The fastest of five products at the shape of a small encoder layer."""
    import torch

    rows, weights = torch.ones(512, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        rows @ weights
        times.append(time.perf_counter() - start)
    return min(times)
