"""What a pretraining objective is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from clinnlp.core.document import Document

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from clinnlp.encode.marks import MarkedText
    from clinnlp.encode.packing import Rows
    from clinnlp.encode.tokens import NoteTokenizer

HEAD = "clinnlp_"  # how the names of objectives' own heads begin
CORPUS = "clinnlp corpus"  # the key in a document's `meta` for the number of its corpus; -1 is source text


@dataclass(frozen=True)
class Objective:
    """One pretraining loss; its fields are its options. By default the head of a masked LM guesses hidden tokens.

    To add one: write `clinnlp/objectives/NAME.py` with one frozen dataclass that extends this class.
    Randomness is stateless: everything random comes from the generators that `corrupt` is given.
    """

    kind: ClassVar[str] = "objectives"
    model_class: ClassVar[str] = "AutoModelForMaskedLM"
    """The transformers class of the model that is trained."""
    guesses_tokens: ClassVar[bool] = True
    """Whether it trains the masked-LM head. Only then are pieces of several notes packed into a row."""
    compares: ClassVar[bool] = False
    """Whether the loss compares the rows of a batch: it is then another one for another `fit.batch`."""
    pairs: ClassVar[int] = 0
    """1 if a row is made into a pair of stretches, which takes a separator more; 2 if of two rows."""
    dropout: ClassVar[float] = 0.0
    """Dropout of the encoder; little is needed in a pass or three over a corpus."""

    def files(self) -> tuple[Path, ...]:
        """Files that the options name: a run is not taken up with others."""
        return ()

    def on(self, documents: Sequence[Document]) -> Self:
        """The objective for these notes. Raises ConfigError if they lack what it needs."""
        return self

    def mark(self, document: Document) -> "MarkedText":
        """A note with what the objective must know of its text."""
        from clinnlp.encode.marks import MarkedText
        from clinnlp.text.identified import placeholders
        from clinnlp.text.surrogates import FILLED

        filled = [(start, end) for start, end in document.meta.get(FILLED, ())]
        return MarkedText(document.text, sorted([*placeholders(document.text), *filled]))

    def head(self, model: "torch.nn.Module") -> "torch.nn.Module | None":
        """A head of the objective's own, trained with the model and kept in checkpoints, of no use afterwards."""
        return None

    def prepare(self, model: "torch.nn.Module") -> None:
        """Install what the loss needs on a masked LM, before training."""
        from clinnlp.objectives._masking import show_masked_only

        show_masked_only(model)
        if (head := self.head(model)) is not None:
            model.add_module(self.head_name, head)

    def finish(self, model: "torch.nn.Module") -> None:
        """Take the objective's own head off."""
        if hasattr(model, self.head_name):
            delattr(model, self.head_name)

    @property
    def head_name(self) -> str:
        """The name of its own head in a model."""
        return f"{HEAD}{type(self).__module__.rsplit('.', 1)[-1]}"

    def head_of(self, model: "torch.nn.Module") -> Any:
        """Its own head, as it is installed in a model or the model within a wrapper."""
        from clinnlp.encode.packing import inner

        return getattr(inner(model), self.head_name)

    def corrupt(
        self, rows: "Rows", tokenizer: "NoteTokenizer", progress: float, randoms: "Iterable[np.random.Generator]"
    ) -> dict[str, "NDArray[Any]"]:
        """Rows as the model will see them: arrays (B, S), and `labels`, -100 where nothing is to be learned.

        `randoms` gives the generator of each row in turn, to be used before the next is taken. With `pairs = 2` there
        are 2 B rows, of which the second half are the others of the pairs.
        """
        raise AssertionError(f"{type(self).__name__} defines no corrupt()")

    def loss(self, model: "torch.nn.Module", batch: dict[str, "torch.Tensor"], items: Any) -> "torch.Tensor":
        """Summed loss of a batch over `items`, the number of targets in the optimizer step; a float32 scalar."""
        from clinnlp.objectives._masking import masked_cross_entropy

        return masked_cross_entropy(model, batch, items)
