"""What a pretraining run measures on texts that it does not train on, before and after."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clinnlp.config import name_of
from clinnlp.core.document import Document
from clinnlp.core.spool import Part
from clinnlp.errors import DataError, IntegrityError
from clinnlp.objectives.base import CORPUS, Objective
from clinnlp.objectives.entity_mlm import EntityMlm
from clinnlp.objectives.mlm import Mlm
from clinnlp.recipes._pretraining_data import Notes

if TYPE_CHECKING:
    from clinnlp.training.pretraining import BlockSource
    from clinnlp.training.probe import Probe

log = logging.getLogger("clinnlp")

NOTES, SOURCE, ENTITIES, PROBE = "notes", "source", "entities", "probe"
MOST = 500.0  # of a loss in nats: a model that guesses at random has 10 to 13
LOOKED_AT = 300  # notes of each side whose words are compared
MASKED = {NOTES: "held-out notes", SOURCE: "held-out source text"}  # measured by the perplexity of a masked LM


@dataclass
class Measures:
    """Held-out losses of a model under names; what is hidden is the same at every call."""

    model: Any
    batch: int
    sources: "dict[str, BlockSource]" = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    probe: "Probe | None" = None

    def loss(self, name: str) -> float:
        """The mean loss under a name now."""
        return self._measured(name)[0]

    def take(self, when: str) -> None:
        """Measure all of them and keep them as of `when`."""
        from clinnlp.training.pretraining import accuracy

        for name in list(self.sources):
            loss, targets = self._measured(name)
            if not targets:
                log.warning("not measured: what is held out has no targets of %s", name)
                del self.sources[name]
                continue
            if not loss < MOST:
                raise IntegrityError(
                    f"the loss of {MASKED.get(name, name)} {when} training is not a number, or over {MOST:g}",
                    next="lower fit.learning_rate, in a new --out" if when == "after" else "check the base model",
                )
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
        if self.probe is not None:
            score, examples = self.probe.score(self.model, self.batch)
            kept = self.facts.setdefault(PROBE, {"what": self.probe.what, "targets": examples})
            kept[f"score_{when}"] = score
            log.info("probe %s: %s %.4f (%d examples)", when, self.probe.what, score, examples)

    def _measured(self, name: str) -> tuple[float, int]:
        from clinnlp.training.pretraining import mean_loss

        return mean_loss(self.model, self.sources[name], self.batch)


def held_out_rows(
    notes: Notes,
    objectives: Sequence[Objective],
    guesses: bool,
    rows: "Callable[[Objective, Sequence[Document]], BlockSource]",
) -> "dict[str, BlockSource]":
    """What is measured: a masked LM's knowledge, if the model has such a head (`guesses`), and each other objective."""
    plain, found = Mlm(), {}
    if guesses:
        parts = {NOTES: notes.held_out, SOURCE: notes.source}
        found = {name: rows(plain, part) for name, part in parts.items() if part}
        if any(note.spans for note in notes.held_out):
            found[ENTITIES] = rows(EntityMlm(share=1.0), notes.held_out)
    return found | {name_of(o): rows(o, notes.held_out) for o in objectives if not (guesses and o == plain)}


def corpus_shift(notes: Notes, seed: int) -> dict[str, Any] | None:
    """How far the notes lie from source text, by their words (see `audit shift`); None without enough of both."""
    from clinnlp.evaluation.shift import note_shift

    training = [note for note in _spread(notes.train, 2 * LOOKED_AT) if note.meta[CORPUS] >= 0][:LOOKED_AT]
    try:
        return note_shift(_spread(notes.source, LOOKED_AT), training, seed) if notes.source else None
    except DataError as error:
        log.warning("the shift between source text and notes is not measured: %s: %s", error.where, error.what)
        return None


def _spread(notes: Part, most: int) -> list[Document]:
    """At most so many notes, spread evenly over all."""
    return notes[:: max(-(-len(notes) // most), 1)]
