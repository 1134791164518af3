"""What a pretraining run measures on texts that it does not train on, before and after."""

import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clinnlp.training.pretraining import BlockSource

log = logging.getLogger("clinnlp")

NOTES, SOURCE, ENTITIES = "notes", "source", "entities"
MASKED = {NOTES: "held-out notes", SOURCE: "held-out source text"}  # measured by the perplexity of a masked LM


@dataclass
class Measures:
    """Held-out losses of a model under names; what is hidden is the same at every call."""

    model: Any
    batch: int
    sources: "dict[str, BlockSource]" = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def loss(self, name: str) -> float:
        """The mean loss under a name now."""
        return self._measured(name)[0]

    def take(self, when: str) -> None:
        """Measure all of them and keep them as of `when`."""
        from clinnlp.training.pretraining import accuracy

        for name in self.sources:
            loss, targets = self._measured(name)
            kept = self.facts.setdefault(name, {"targets": targets})
            kept[f"loss_{when}"] = loss
            if name == ENTITIES:
                kept[f"accuracy_{when}"] = share = accuracy(self.model, self.sources[name], self.batch)[0]
                log.info("entity tokens guessed right %s: %.1f %% of %d", when, 100 * share, targets)
            elif name in MASKED:
                kept[f"perplexity_{when}"] = math.exp(loss)
                told = f"perplexity of {MASKED[name]} {when}: {math.exp(loss):.2f}"
                log.info("%s (%d masked tokens)", told, targets)
            else:
                log.info("held-out loss of %s %s: %.4f (%d targets)", name, when, loss, targets)

    def _measured(self, name: str) -> tuple[float, int]:
        from clinnlp.training.pretraining import mean_loss

        return mean_loss(self.model, self.sources[name], self.batch)
