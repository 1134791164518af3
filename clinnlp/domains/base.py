"""What a domain method is: how labeled notes of a source serve a task on notes of a target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from clinnlp.core.document import Document
from clinnlp.errors import ConfigError

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]
HEAD = "clinnlp_domain"  # the name of a method's own head in a model that is trained


@dataclass(frozen=True, slots=True)
class Weighing:
    """What each source note counts, (N,) with mean 1 over the notes that are kept, 0 for the others; `facts` of it."""

    weights: Array
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """The mean (H,) and covariance (H, H) of `count` feature vectors."""

    mean: Array
    covariance: Array
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """Affine maps of features: x becomes x @ matrix + shift, before the head reads it; None leaves a side as it is.

    The head is trained on mapped source features; the target's map is folded into the head that is saved.
    """

    source: tuple[Array, Array]
    target: tuple[Array, Array] | None = None


@dataclass(frozen=True)
class Domain:
    """One way from labeled source notes to unlabeled target notes; its fields are its options.

    To add one: write `clinnlp/domains/NAME.py` with one frozen dataclass that extends this class. It does one of three:
    weigh the source notes (`weigh`), map frozen features (`maps`), or add a loss on features of both (`loss`). Features
    are what enters the head: (N, H) vectors of tokens, or of rows where the head reads one vector a row.
    """

    kind: ClassVar[str] = "domains"

    @property
    def does(self) -> Literal["weights", "maps", "loss"]:
        """Which of the three it does."""
        raise AssertionError(f"{type(self).__name__} defines no does")

    @property
    def reads_vectors(self) -> bool:
        """Whether `weigh` reads vectors of the notes by the base model."""
        return False

    @property
    def share(self) -> float:
        """What the domain loss counts beside the loss of the task."""
        return 0.0

    def weigh(
        self, source: Sequence[Document], target: Sequence[Document], vectors: Array | None, seed: int
    ) -> Weighing:
        """What each source note counts. `vectors (N + M, H)` are those of the notes of both, where they are read."""
        raise AssertionError(f"{type(self).__name__} defines no weigh()")

    def maps(self, source: Moments, target: Moments) -> Maps:
        """The maps that align the features of a frozen encoder."""
        raise AssertionError(f"{type(self).__name__} defines no maps()")

    def head(self, hidden: int) -> "torch.nn.Module | None":
        """A head of the method's own over features of `hidden` dimensions, thrown away after training."""
        return None

    def loss(
        self, head: "torch.nn.Module | None", source: "torch.Tensor", target: "torch.Tensor", progress: float
    ) -> "torch.Tensor":
        """The domain loss of source features (N, H) and target features (M, H), float32; a scalar.

        `progress` is the share of the steps done, the only thing beside the features that it may depend on.
        """
        raise AssertionError(f"{type(self).__name__} defines no loss()")


def check_positive(where: str, value: float) -> None:
    """Raises ConfigError unless a number is over 0."""
    if not value > 0:
        raise ConfigError("must be over 0", where=f"domain.{where}")
