"""Differentially private fine-tuning: what it refuses, its units of privacy, and what the card says of it."""

import logging
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from clinnlp.core.document import Document
from clinnlp.core.ranks import ranks
from clinnlp.encode.tags import Alignment
from clinnlp.errors import ConfigError, DataError
from clinnlp.tasks.base import Example

if TYPE_CHECKING:
    from clinnlp.models.load import Trained
    from clinnlp.recipes.finetune import Finetune
    from clinnlp.training.checkpoints import Checkpoints
    from clinnlp.training.fit import Fit
    from clinnlp.training.settings import Privacy, SupervisedFit

log = logging.getLogger("clinnlp")


def check_private(settings: "Finetune", one_model: bool) -> None:
    """Raises ConfigError for what a private training cannot do, or what would spend privacy outside its account."""
    if settings.privacy is None:
        return
    if not one_model:
        raise ConfigError(
            "this trains several models on the same patients, and each spends privacy of its own", where="privacy",
            next="leave it out here, choose the settings on notes that are public, and use `clinnlp finetune`",
        )  # fmt: skip
    fit, data = settings.fit, settings.data
    refused = {
        "domain": (settings.domain is not None, "domain methods read all notes at once"),
        "data.target_labeled": (data.target_labeled is not None, "the account knows the notes of data.train alone"),
        "fit.balance": (fit.balance > 0, "the classes of all notes would decide who is drawn"),
        "fit.accumulate": (fit.accumulate > 1, "a step reads its patients one by one"),
        "strategy.cache": (settings.strategy.caches, "a cache holds what the lower layers make of the notes"),
        "data.allow": (settings.privacy.public_dev and "groups" in data.allow, "a patient of dev notes is not covered"),
    }
    for where, (found, reason) in refused.items():
        if found:
            raise ConfigError(f"not with privacy: {reason}", where=where, next="leave it out")
    if ranks() > 1:
        raise ConfigError("private training runs in one process", where="privacy", next="start it without torchrun")


@dataclass(frozen=True)
class Private:
    """One private training: the notes of each patient (or each note alone), and how they are trained on."""

    privacy: "Privacy"
    units: tuple[tuple[Document, ...], ...]

    @classmethod
    def of(cls, privacy: "Privacy", notes: Sequence[Document]) -> "Private":
        """With the training notes. Raises DataError if a note has no patient, where patients are to be protected."""
        held: dict[str, list[Document]] = {}
        missing = sum(note.group is None for note in notes) if privacy.unit == "patient" else 0
        if missing:
            raise DataError(
                f"{missing} of {len(notes)} notes do not say whose they are, so no patient can be protected",
                where="data.train",
                next="name the field of the patient (--data.group_field), or --privacy.unit note for a weaker promise",
            )
        for note in notes:
            held.setdefault(str(note.group) if privacy.unit == "patient" else note.id, []).append(note)
        return cls(privacy, tuple(map(tuple, held.values())))

    def examples(self, trained: "Trained") -> tuple[list[list[Example]], Alignment]:
        """The examples of each unit, and the ledger of what their gold became."""
        found, ledger = [], Alignment()
        for notes in self.units:
            made, alignment = trained.task.examples(notes, trained.tokenizer, trained.schema)
            found.append(made)
            ledger += alignment
        return found, ledger

    def fit(
        self, trained: "Trained", examples: list[list[Example]], groups: list[dict[str, Any]], fit: "SupervisedFit",
        seed: int, score: Callable[[], float] | None, checkpoints: "Checkpoints",
        moving: Callable[[float], Collection[str]],
    ) -> "Fit":  # fmt: skip
        """Train in place, and put the guarantee on the model's card."""
        from clinnlp.training.private import Account, Patients, fit_privately, secret_key

        privacy = self.privacy
        account = Account.of(privacy, len(self.units), fit)
        planned = account.epsilon(account.steps)
        log.info(
            "private: %d %ss, %.1f a step, noise %g, %d steps, which spend epsilon %.2f at delta %g",
            len(self.units), privacy.unit, privacy.rate * len(self.units), account.noise, account.steps, planned,
            privacy.delta,
        )  # fmt: skip
        key = secret_key(checkpoints.folder)
        patients = Patients(examples, trained.task, trained.tokenizer.pad_id or 0, fit.batch, account, key)
        chooser = score if privacy.public_dev else None
        fitted = fit_privately(trained.model, patients, groups, fit, seed, chooser, checkpoints, moving)
        epsilon = math.ceil(account.epsilon(fitted.steps) * 1e4) / 1e4
        log.info("private: epsilon %.4f at delta %g for each %s", epsilon, privacy.delta, privacy.unit)
        guarantee = {
            "epsilon": epsilon,
            "delta": privacy.delta,
            "protects each": privacy.unit,
            "protected": len(self.units),
            "noise multiplier": account.noise,
            "clipping norm": privacy.clip,
            "sampling rate": privacy.rate,
            "private steps": fitted.steps,
            "accountant": "RDP of the Poisson-sampled Gaussian mechanism",
            "dev notes chose": "weights and thresholds, uncovered" if privacy.public_dev else "nothing",
        }
        trained.card = replace(trained.card, privacy=guarantee)
        return fitted
