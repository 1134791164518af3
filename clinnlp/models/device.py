"""Which device and which number format to compute with."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clinnlp.errors import ConfigError

if TYPE_CHECKING:
    import torch


GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # what Linux shows of a GPU that torch may be able to use

_worker = 0  # the number of this process among those that share the GPUs of a machine


def choose_device(wanted: str, where: str = "fit.device") -> Literal["cpu", "cuda"]:
    """`cuda` where wanted and present; torch is not loaded where there is nothing to ask it.

    Raises ConfigError, naming the setting `where`, if it is asked for by name and missing.
    """
    if wanted == "cpu" or (wanted == "auto" and sys.platform == "linux" and not any(map(exists, GPU_FILES))):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise ConfigError("no GPU that torch can use", where=where, next=f"use --{where} auto")
    return "cpu"


def exists(path: str) -> bool:
    """Whether a file is there."""
    return Path(path).exists()


def be_worker(number: int) -> None:
    """Tell this process its number among the workers of a machine, which take turns over its GPUs."""
    global _worker
    _worker = number


def place(device: str) -> str:
    """Where torch is to put a model of this process: `cpu`, or the GPU whose turn it is, such as `cuda:1`."""
    import torch

    return f"cuda:{_worker % torch.cuda.device_count()}" if device == "cuda" else device


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
