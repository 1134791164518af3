"""Maximum mean discrepancy as a loss."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clinnlp.domains.base import Domain, check_positive
from clinnlp.errors import ConfigError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Mmd(Domain):
    """Pull source and target features together in the mean of many Gaussian kernels (Long et al. 2015).

    The squared maximum mean discrepancy of the features in a batch, the mean over kernels whose widths are powers of
    two times the mean squared distance in the batch, is added to the loss of the task.

    When to use it: as `dann`, without an adversary that must be kept in balance. Needs batches of 16 or more.
    """

    weight: float = 1.0
    """What the loss counts beside that of the task."""
    kernels: int = 5
    """Kernels, of widths from 1/4 to 4 times the mean squared distance with five."""

    def __post_init__(self) -> None:
        check_positive("weight", self.weight)
        if self.kernels < 1:
            raise ConfigError("must be 1 or more", where="domain.kernels")

    @property
    def does(self) -> Literal["weights", "maps", "loss"]:
        return "loss"

    @property
    def share(self) -> float:
        """As `weight` says."""
        return self.weight

    def loss(
        self, head: "torch.nn.Module | None", source: "torch.Tensor", target: "torch.Tensor", progress: float
    ) -> "torch.Tensor":
        """The biased estimate, which is never under 0: mean k(s, s') + mean k(t, t') - 2 mean k(s, t)."""
        import torch

        both = torch.cat([source, target])
        own = (both**2).sum(dim=1)
        distances = (own[:, None] + own[None] - 2 * both @ both.T).clamp(min=0)
        pairs = max(len(both) * (len(both) - 1), 1)
        width = (distances.detach().sum() / pairs).clamp(min=1e-12)
        widths = [width * 2.0 ** (number - self.kernels // 2) for number in range(self.kernels)]
        kernel = torch.stack([torch.exp(-distances / one) for one in widths]).mean(dim=0)
        count = len(source)
        within = kernel[:count, :count].mean() + kernel[count:, count:].mean()
        return within - 2 * kernel[:count, count:].mean()
