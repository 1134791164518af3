"""How much memory a stretch of work takes at its peak."""

import contextlib
import re
from pathlib import Path
from typing import Self

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Inside `with`: the peak of a device's memory, or on a CPU of the process's, as `bytes`; None where not told.

    Linux alone can set the peak of a process back; elsewhere that of the whole process would be all there is.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.bytes: int | None = None

    def __enter__(self) -> Self:
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            with contextlib.suppress(OSError):
                RESET.write_text("5")
        return self

    def __exit__(self, *_: object) -> None:
        if self.device == "cuda":
            self.bytes = torch.cuda.max_memory_allocated()
        else:
            with contextlib.suppress(OSError):
                found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
                self.bytes = int(found[1]) * 1024 if found else None
