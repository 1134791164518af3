"""What a pretraining objective is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from clinnlp.encode.packing import Block
    from clinnlp.encode.tokens import NoteTokenizer


@dataclass(frozen=True)
class Objective:
    """One pretraining loss; its fields are its options.

    To add one: write `clinnlp/objectives/NAME.py` with one frozen dataclass that extends this class.
    Randomness is stateless: everything random comes from the generator that `corrupt` is given.
    """

    kind: ClassVar[str] = "objectives"
    model_class: ClassVar[str] = "AutoModelForMaskedLM"
    """The transformers class whose head the objective trains."""

    def prepare(self, model: "torch.nn.Module") -> None:
        """Install what the loss needs on the model, once, before training."""

    def corrupt(
        self, block: "Block", tokenizer: "NoteTokenizer", progress: float, random: "np.random.Generator"
    ) -> dict[str, "NDArray[Any]"]:
        """One packed block as the model will see it: arrays of length S, `labels` among them."""
        raise AssertionError(f"{type(self).__name__} defines no corrupt()")

    def loss(self, model: "torch.nn.Module", batch: dict[str, "torch.Tensor"], items: Any) -> "torch.Tensor":
        """Summed loss of a batch over `items`, the number of targets in the optimizer step; a float32 scalar."""
        raise AssertionError(f"{type(self).__name__} defines no loss()")
