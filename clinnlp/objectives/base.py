"""What a pretraining objective is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from clinnlp.core.document import Document

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from clinnlp.encode.marks import Ranges
    from clinnlp.encode.packing import Rows
    from clinnlp.encode.tokens import NoteTokenizer


@dataclass(frozen=True)
class Objective:
    """One pretraining loss; its fields are its options. By default the head of a masked LM guesses hidden tokens.

    To add one: write `clinnlp/objectives/NAME.py` with one frozen dataclass that extends this class.
    Randomness is stateless: everything random comes from the generators that `corrupt` is given.
    """

    kind: ClassVar[str] = "objectives"
    model_class: ClassVar[str] = "AutoModelForMaskedLM"
    """The transformers class whose head the objective trains."""

    def files(self) -> tuple[Path, ...]:
        """Files that the options name: a run is not taken up with others."""
        return ()

    def check(self, documents: Sequence[Document]) -> None:
        """Raise ConfigError if the notes to train on lack what the objective needs."""

    def entities(self, document: Document) -> "Ranges":
        """The stretches of a note that are marked as entities in its rows."""
        return ()

    def prepare(self, model: "torch.nn.Module") -> None:
        """Install what the loss needs on the model, once, before training."""
        from clinnlp.objectives._masking import show_masked_only

        show_masked_only(model)

    def corrupt(
        self, rows: "Rows", tokenizer: "NoteTokenizer", progress: float, randoms: "Iterable[np.random.Generator]"
    ) -> dict[str, "NDArray[Any]"]:
        """Packed rows as the model will see them: arrays (B, S), `labels` among them.

        `randoms` gives the generator of each row in turn, to be used before the next is taken.
        """
        raise AssertionError(f"{type(self).__name__} defines no corrupt()")

    def loss(self, model: "torch.nn.Module", batch: dict[str, "torch.Tensor"], items: Any) -> "torch.Tensor":
        """Summed loss of a batch over `items`, the number of targets in the optimizer step; a float32 scalar."""
        from clinnlp.objectives._masking import masked_cross_entropy

        return masked_cross_entropy(model, batch, items)
