"""Adaptation to a target in a fine-tuning run: what is checked, weighed, installed, taken off again and told."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clinnlp import config
from clinnlp.core.document import Document
from clinnlp.core.ranks import ranks
from clinnlp.core.schema import LabelSchema
from clinnlp.domains.base import HEAD, Domain
from clinnlp.encode.tags import Alignment
from clinnlp.errors import ConfigError, DataError
from clinnlp.recipes._data import Splits, TrainingData
from clinnlp.recipes._label_map import flag_of, nearest
from clinnlp.strategies.base import Strategy
from clinnlp.tasks.base import Example, Task

if TYPE_CHECKING:
    from clinnlp.models.load import Trained
    from clinnlp.training.domain import Entrance
    from clinnlp.training.loader import Source
    from clinnlp.training.settings import SupervisedFit
    from clinnlp.training.supervised import ExampleSource

log = logging.getLogger("clinnlp")


def check_domain(domain: Domain | None, data: TrainingData, strategy: Strategy) -> None:
    """Raises ConfigError for settings that do not go together."""
    if domain is None:
        if data.target is not None:
            raise ConfigError(
                "no method uses the notes of the target",
                where="data.target",
                next="choose one, as --domain reweight (clinnlp list domains), or leave data.target out",
            )
        return
    name = config.name_of(domain)
    if data.target is None:
        raise ConfigError(
            f"{name} needs notes of the target, which take no labels", where="domain", next="give --data.target PATH"
        )
    if domain.does == "loss" and ranks() > 1:
        raise ConfigError(
            f"{name} compares both sides in the batch of one process", where="domain", next="start it without torchrun"
        )
    if domain.does == "loss" and strategy.caches:
        raise ConfigError(
            f"{name} reads target notes in every step, and the lower layers are computed for source notes alone",
            where="strategy.cache",
            next="use --strategy.cache false",
        )
    if domain.does == "maps" and data.target_labeled is not None:
        raise ConfigError(
            f"{name} maps all training notes as notes of the source",
            where="data.target_labeled",
            next="choose --domain reweight, dann, mmd or coral with use: loss",
        )


def check_target_labels(task: Task, labeled: Sequence[Document], schema: LabelSchema) -> None:
    """Raises DataError for labels of labeled target notes that the source lacks."""
    found = sorted({label for note in labeled for label in task.gold_labels(note)} - set(schema.labels))
    if found:
        near = nearest(found[0], schema.labels) or schema.labels
        raise DataError(
            f"labels of the target that the source lacks: {', '.join(map(repr, found))}; it has "
            f"{', '.join(schema.labels)}",
            where="data.target_labeled",
            next=f"name what they are there, as {flag_of(found[0], near[0])}",
        )


class Adaptation:
    """What one run does with the notes of its target; without a domain method, next to nothing.

    In the order of its methods: `notes` are weighed before there are examples, `install` puts a method into the model,
    `source` adds target rows to the batches, `take_off` and `fold` leave a plain model.
    """

    def __init__(self, domain: Domain | None, splits: Splits, data: TrainingData, seed: int) -> None:
        self.domain, self.splits, self.data, self.seed = domain, splits, data, seed
        self.facts: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.entrance: Entrance | None = None
        self.head: Any = None
        self.rows: list[Any] = []
        if splits.target_labeled:
            self.facts["labeled target notes"] = len(splits.target_labeled)
        if domain is not None:
            self.facts |= {"domain": config.name_of(domain), "target notes": len(splits.target)}
        if splits.target_empty:
            self.facts["empty target notes"] = splits.target_empty
            given = len(splits.target) + splits.target_empty
            self.warnings.append(f"{splits.target_empty} of {given} target notes are empty and were left out")

    def examples(
        self, trained: "Trained", fit: "SupervisedFit"
    ) -> "tuple[list[Example], list[float] | None, Alignment]":
        """The examples of all labeled notes, what each weighs (None: all the same), and the ledger of their gold."""
        notes, weights = [*self.splits.train], [1.0] * len(self.splits.train)
        if self.domain is not None and self.domain.does == "weights":
            weights = self._weigh(self.domain, trained, fit)
        notes += self.splits.target_labeled
        weights += [self.data.target_weight] * len(self.splits.target_labeled)
        task, tokenizer, schema = trained.task, trained.tokenizer, trained.schema
        if len(set(weights)) == 1:
            made, alignment = task.examples(notes, tokenizer, schema)
            return made, None, alignment
        examples: list[Example] = []
        own: list[float] = []
        ledger = Alignment()
        for note, weight in zip(notes, weights, strict=True):
            if weight:
                made, alignment = task.examples([note], tokenizer, schema)
                examples += made
                own += [weight] * len(made)
                ledger += alignment
        return examples, own, ledger

    def install(self, trained: "Trained", heads: list[str], examples: Sequence[Example], fit: "SupervisedFit") -> None:
        """Put the method into a model whose strategy was applied: a head of its own, or maps of frozen features."""
        if self.domain is None or self.domain.does == "weights":
            return
        from clinnlp.models.device import choose_device
        from clinnlp.training.domain import entrance, moments

        model: Any = trained.model.to(choose_device(fit.device))
        self.rows = [row for note in self._cut(trained, self.splits.target) for row in note]
        self.entrance = entrance(model, heads, self.rows[0])
        if self.domain.does == "maps":
            _check_frozen(self.domain, model, heads)
            ours = [row.ids for example in examples for row in example.rows]
            pad_id = trained.tokenizer.pad_id or 0
            both = [moments(model, self.entrance, rows, pad_id, fit.batch) for rows in (ours, self.rows)]
            self.entrance.use(self.domain.maps(*both))
            log.info("%s: %d source and %d target vectors", self.facts["domain"], both[0].count, both[1].count)
            return
        self.head = self.domain.head(int(model.config.hidden_size))
        if self.head is not None:
            self.head.to(choose_device(fit.device))
            model.add_module(HEAD, self.head)
            heads.append(HEAD)
            count = sum(weight.numel() for weight in self.head.parameters())
            log.info("%s: a head of %s weights is trained too and thrown away", self.facts["domain"], f"{count:,}")

    def source(self, source: "ExampleSource") -> "Source":
        """The labeled examples, with target rows beside them where the method compares both."""
        if self.domain is None or self.domain.does != "loss" or self.entrance is None:
            return source
        from clinnlp.training.domain import DomainSource

        return DomainSource(source, self.rows, self.domain, self.entrance, self.head)

    def side(self, dev: bool) -> None:
        """Which map holds from now on: that of the dev notes, or of the source notes that are trained on."""
        if self.entrance is not None:
            self.entrance.side = self.data.dev_of if dev else "source"

    def take_off(self, model: Any) -> None:
        """Take the method's own head off, and stop looking; maps stay until they are folded."""
        if self.head is not None:
            delattr(model, HEAD)
        if self.entrance is not None and not self.entrance.maps:
            self.entrance.remove()
            self.entrance = None

    def fold(self) -> None:
        """Take the map of the target into the head."""
        if self.entrance is not None:
            self.entrance.fold()

    def notices(self) -> list[str]:
        """What a reader of the report must know."""
        told = [f"trained on labeled notes of the target too: {len(self.splits.target_labeled):,}"]
        told = told if self.splits.target_labeled else []
        if self.domain is not None:
            more = [f"{name} {value}" for name, value in self.facts.items() if name not in NAMED]
            line = f"adapted by {self.facts['domain']} to unlabeled notes of the target: {len(self.splits.target):,}"
            told.append(", ".join([line, *more]))
        return told + self.warnings

    def _weigh(self, domain: Domain, trained: "Trained", fit: "SupervisedFit") -> list[float]:
        vectors = None
        if domain.reads_vectors:
            from clinnlp.models.device import choose_device
            from clinnlp.training.domain import note_vectors

            notes = self._cut(trained, [*self.splits.train, *self.splits.target])
            model = trained.model.to(choose_device(fit.device))
            vectors = note_vectors(model, notes, trained.tokenizer.pad_id or 0, fit.batch)
        weighing = domain.weigh(self.splits.train, self.splits.target, vectors, self.seed)
        self.facts |= weighing.facts
        self.warnings += weighing.warnings
        for warning in weighing.warnings:
            log.warning("%s", warning)
        log.info("%s: %s", self.facts["domain"], ", ".join(f"{k} {v}" for k, v in weighing.facts.items()))
        return [float(weight) for weight in weighing.weights]

    def _cut(self, trained: "Trained", documents: Sequence[Document]) -> list[list[Any]]:
        """The rows of ids of each note. Raises DataError if there is none of the target."""
        tokens = trained.tokenizer.encode_many([document.text for document in documents])
        cut = [trained.task.cut(d, t, trained.tokenizer) for d, t in zip(documents, tokens, strict=True)]
        if not any(cut):
            raise DataError(
                f"none of the {len(documents)} notes holds a token", where="data.target", next="check the path"
            )
        return [[row.ids for row in rows] for rows in cut]


NAMED = ("domain", "target notes", "labeled target notes", "empty target notes")  # facts that the notice tells in words


def _check_frozen(domain: Domain, model: Any, heads: Sequence[str]) -> None:
    """Raises ConfigError if a weight under the head moves: its features would leave the map behind."""
    from clinnlp.strategies.base import in_head

    if any(weight.requires_grad and not in_head(name, heads) for name, weight in model.named_parameters()):
        name = config.name_of(domain)
        other = "--domain.use loss" if name == "coral" else "--domain coral, mmd or dann"
        raise ConfigError(
            f"{name} maps the features of a frozen encoder once, and this strategy moves it",
            where="domain",
            next=f"choose --strategy feature_extractor, or {other}",
        )
