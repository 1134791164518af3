"""Plain torch: rows of like length side by side, padded to the longest of them."""

from dataclasses import dataclass
from typing import Literal

from clinnlp.engines.base import Engine, plain_runner
from clinnlp.models.device import choose_device, choose_precision, place
from clinnlp.models.load import Runner, Trained


@dataclass(frozen=True)
class Torch(Engine):
    """The model as transformers runs it, on padded batches: any architecture, and the measure of the others."""

    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Number format of the matrix products (autocast); auto measures whether bf16 is faster on this machine."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU where there is one."""

    def runner(self, trained: Trained) -> Runner:
        """Rows through `trained.model`, which is moved to the device, whatever it is when they come."""
        device = choose_device(self.device, "engine.device")
        trained.model.to(place(device))
        return plain_runner(trained, bf16=choose_precision(self.precision, device) == "bf16")
