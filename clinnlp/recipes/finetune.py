"""`clinnlp finetune`: a base model, labeled notes and a task become a model folder and a report."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clinnlp.core.document import Document
from clinnlp.core.run import Run, megabytes, write_json
from clinnlp.domains.base import Domain
from clinnlp.errors import QUARANTINED, ConfigError, DataError
from clinnlp.formats.jsonl import Jsonl
from clinnlp.models.folder import base_pins
from clinnlp.recipes._adapt import Adaptation, check_domain, check_target_labels
from clinnlp.recipes._data import Splits, TrainingData, check_labels, load_splits, read_as, write_quarantine
from clinnlp.recipes._history import base_notices
from clinnlp.recipes._leaks import check_target, check_trained_on, remember_trained_on
from clinnlp.recipes._moving import what_moves
from clinnlp.recipes._output import CHECKPOINTS, checkpoints_of, save_model, start_run
from clinnlp.recipes._private import Private, check_private
from clinnlp.recipes._scores import Scored
from clinnlp.strategies.base import Strategy, head_names, levels
from clinnlp.strategies.lora import Lora
from clinnlp.tasks.base import Task
from clinnlp.tasks.ner import Ner
from clinnlp.training.settings import Privacy, SupervisedFit

if TYPE_CHECKING:
    from clinnlp.models.load import Trained
    from clinnlp.training.checkpoints import Checkpoints
    from clinnlp.training.fit import Fit

log = logging.getLogger("clinnlp")


@dataclass(frozen=True)
class Finetune:
    """Fine-tune a base model for entity extraction or note classification, and score it."""

    out: Path
    """New folder for the run."""
    base: str | None = None
    """Base model: a folder, clinnlp-mini or a hub name; of a fine-tuned folder the encoder. Null: random (see like)."""
    like: str | None = None
    """Without a base: the model whose architecture and tokenizer are taken, for a baseline from scratch."""
    revision: str | None = None
    """Commit of a hub base, 40 hex digits."""
    download: bool = False
    """Allow the base to be downloaded from the hub; clinnlp is offline otherwise."""
    data: TrainingData = field(default_factory=TrainingData)
    """The labeled notes, and those of another domain that the model is for."""
    task: Task = field(default_factory=Ner)
    """What is predicted: ner or another of `clinnlp list tasks`, with its options (--task.window 256)."""
    strategy: Strategy = field(default_factory=Lora)
    """Which weights move, and when: lora, full and others, with their options (--strategy.rank 8)."""
    domain: Domain | None = None
    """How the model adapts to unlabeled notes of data.target: reweight, coral, dann and others, with their options."""
    fit: SupervisedFit = field(default_factory=SupervisedFit)
    """The training loop."""
    privacy: Privacy | None = None
    """Differential privacy: epsilon (8), or noise, and delta, clip, rate, unit, public_dev; see docs/privacy.md."""
    seed: int = 13
    """Seed of the head's weights, the order and dropout."""
    with_text: bool = False
    """Write notes.html too: the notes with gold and predicted spans side by side; it holds note text."""
    with_text_notes: int = 200
    """How many notes that page shows at most, those with the most errors."""

    def __post_init__(self) -> None:
        self.check_base()
        check_domain(self.domain, self.data, self.strategy)
        check_private(self, one_model=type(self) is Finetune)
        if self.with_text_notes < 1:
            raise ConfigError("must be 1 or more", where="with_text_notes")

    def check_base(self) -> None:
        """Raises ConfigError unless there is a base, or the architecture and a strategy for random weights."""
        if (self.base is None) == (self.like is None):
            raise ConfigError("give either base or like", where="base", next="--base DIR, or --like DIR from scratch")
        if self.base is None and self.strategy.needs_base:
            raise ConfigError(
                "random weights cannot be adapted, only trained", where="strategy", next="choose --strategy full"
            )
        if self.base is None and self.fit.fresh_layers:
            raise ConfigError("all layers are random without a base", where="fit.fresh_layers", next="leave it out")

    @property
    def origin(self) -> str:
        """The base model, or the one whose architecture is taken."""
        return str(self.base or self.like)


def run(settings: Finetune) -> int:
    """Do the fine-tuning; returns the exit status."""
    run = start_run("finetune", settings, settings.out, settings.seed)
    splits = load_splits(settings.data)
    run.pin("data", splits.hashes(settings.data))
    train_and_score(settings, splits, run)
    return QUARANTINED if splits.quarantined else 0


def train_and_score(
    settings: Finetune, splits: Splits, run: Run, proven: bool = True, on_score: Callable[[float], object] = float
) -> None:
    """Fine-tune on the given documents into the folder of `run`, score them, and finish the run.

    Training goes on from the checkpoints of an earlier try; all else is made anew. A model that is not going to be
    kept need not be `proven`: to answer in a fresh process as here. `on_score` may end the training by an error.
    """
    # 1. labels
    run.clear(CHECKPOINTS)
    labeled = [*splits.train, *splits.target_labeled]
    task = settings.task.resolve(labeled)
    schema = task.schema(splits.train)
    check_target_labels(task, splits.target_labeled, schema)
    check_labels(task, splits.dev, schema, "dev", settings.data)
    check_labels(task, splits.test, schema, "test", settings.data)
    write_quarantine(run.folder, splits.quarantined)
    splits.waived += check_target(splits.target, splits.test, settings.data.allow)
    if settings.base is not None:
        splits.waived += check_trained_on(Path(settings.base), splits.test, settings.data.allow)

    # 2. base model, with a fresh head
    trained = prepare_model(settings, task, schema)
    run.pin("weights", base_pins(settings.origin, trained.card.base_sha256))

    # 3. train; the dev split chooses the weights
    checkpoints = checkpoints_of(run)
    adaptation = Adaptation(settings.domain, splits, settings.data, settings.seed)
    fitted, ledger, weights = _train(settings, trained, splits, adaptation, checkpoints, on_score)
    write_json(run.folder / "alignment.json", ledger)
    if splits.dev and (settings.privacy is None or settings.privacy.public_dev):
        adaptation.side(dev=True)
        trained.task = trained.task.tune(splits.dev, predict_all(trained, splits.dev))
    adaptation.fold()

    # 4. save, and prove in a fresh process that what was saved answers the same
    proof = save_model(trained, run.folder / "model", proven)
    texts, unlabeled = ([d.text for d in held] for held in ((*labeled, *splits.dev), splits.target))
    remember_trained_on(run, texts, "training", settings.base, unlabeled)

    # 5. score the test split, once; dev where there is no test
    guarantee = dict(trained.card.privacy or {})
    facts = facts_of(settings, trained, splits, fitted) | weights | proof | adaptation.facts | guarantee
    facts["model MB"] = round(megabytes(run.folder / "model"), 1)
    facts |= {"waived": "; ".join(splits.waived)} if splits.waived else {}
    notices = adaptation.notices()
    score_and_report(settings, trained, replace(splits, train=labeled), run, facts, notices)
    write_json(run.folder / "training.json", {"format_version": 1, "history": fitted.history})
    run.finish(facts)
    checkpoints.remove()
    log.info("saved %s", run.folder / "model")


def score_and_report(
    settings: Finetune, trained: "Trained", splits: Splits, run: Run, facts: dict[str, Any], notices: list[str]
) -> None:
    """Score the test notes, or dev where there are none, and write the report."""
    name, gold = ("test", splits.test) if splits.test else ("dev", splits.dev)
    if not gold:
        log.warning("neither dev nor test notes: the model is saved without a score")
        return
    predicted = predict_all(trained, gold)
    report = trained.task.evaluate(gold, predicted, trained.schema, settings.seed)
    perfect = trained.task.perfect(gold, trained.tokenizer, trained.schema)
    notices = [*(base_notices(settings.origin, gold) if settings.base is not None else ()), *notices]
    told = read_as(str(getattr(settings.data, name) or settings.data.train), settings.data.format, "gold")
    known = (splits.train, splits.waived, settings.seed, notices, told)
    scored = Scored(gold, predicted, report, trained.task, perfect, *known)
    title = f"clinnlp {run.manifest.verb}: scores on {name}"
    scored.write(run, title, facts | {"scored on": name})
    if settings.with_text:
        scored.write_text(run.folder, title, settings.with_text_notes)
    Jsonl().write(predicted, run.folder / "predictions.jsonl")
    log.info("scores on %s:\n%s", name, (run.folder / "report.txt").read_text(encoding="utf-8"))


def prepare_model(settings: Finetune, task: Task, schema: Any) -> "Trained":
    """The base model with a head for the task, and everything that goes with it."""
    from transformers import set_seed

    from clinnlp.models.folder import Card
    from clinnlp.models.load import Base, Trained, longest_row
    from clinnlp.training.fresh import make_fresh

    base = Base(settings.origin, settings.revision, settings.download)
    tokenizer = base.tokenizer()
    set_seed(settings.seed)  # the head's weights
    if settings.base is None:
        log.info("from scratch: the architecture and tokenizer of %s, random weights", settings.like)
        model, weights = base.random(task.model_class, task.head_config(schema)), f"random:{settings.seed}"
    else:
        model, weights = base.model(task.model_class, task.head_config(schema))[0], base.sha256()
    base.fits(tokenizer, model)
    if settings.fit.fresh_layers:
        make_fresh(model, base.random(task.model_class, task.head_config(schema)), settings.fit.fresh_layers)
    window = longest_row(model, task.window)
    if window < task.window:
        log.info("the base reads %d tokens at most: windows are cut to that", window)
        task = replace(task, window=window, overlap=min(task.overlap, window // 4))
    card = Card(task, schema, base.source, weights, settings.revision)
    return Trained(model, tokenizer, task, schema, card)


def _train(
    settings: Finetune, trained: "Trained", splits: Splits, adaptation: Adaptation, checkpoints: "Checkpoints",
    on_score: Callable[[float], object],
) -> "tuple[Fit, dict[str, Any], dict[str, int]]":  # fmt: skip
    """Train in place; returns what the loop did, the alignment ledger of each split and the counts of weights."""
    from clinnlp.training.fit import fit
    from clinnlp.training.prefix import cached
    from clinnlp.training.supervised import ExampleSource

    task, tokenizer = trained.task, trained.tokenizer
    fitting = replace(settings.fit, epochs=settings.fit.epochs or settings.strategy.default_epochs)
    private = Private.of(settings.privacy, splits.train) if settings.privacy else None
    if private:
        by_patient, alignment = private.examples(trained)
        examples, own = [example for held in by_patient for example in held], None
    else:
        examples, own, alignment = adaptation.examples(trained, fitting)
    log.info("train: %d notes, %d examples", count := len(splits.train) + len(splits.target_labeled), len(examples))
    if not examples:
        told = f"none of the {count} notes holds a token to learn from"
        raise DataError(told, where="data.train", next="check the path, the format and the text field")
    if alignment.total:
        log.info("%s", alignment.table())
    heads = head_names(trained.model)
    trained.model = settings.strategy.apply(trained.model)
    adaptation.install(trained, heads, examples, fitting)
    groups, moving, weights = what_moves(settings.strategy, settings.fit, trained.model, heads)

    def dev_score() -> float:
        adaptation.side(dev=True)
        report = task.evaluate(splits.dev, predict_all(trained, splits.dev), trained.schema, settings.seed)
        adaptation.side(dev=False)
        found: Any = reduce(getitem, task.dev_score.split("."), report.as_dict())
        value = float(found or 0.0)
        on_score(value)
        return value

    score = dev_score if splits.dev else None
    if private:
        fitted = private.fit(trained, by_patient, groups, fitting, settings.seed, score, checkpoints, moving)
    else:
        source = ExampleSource(examples, task, tokenizer.pad_id or 0, settings.seed, fitting.balance, own)
        upper: tuple[Any, Any] = trained.model, adaptation.source(source)
        if settings.strategy.caches:
            upper = cached(trained.model, levels(trained.model, heads), source, fitting.batch, fitting.device)
        fitted = fit(*upper, groups, fitting, settings.seed, score, checkpoints, moving)
    adaptation.take_off(trained.model)
    trained.model = settings.strategy.finish(trained.model)
    return fitted, {"train": alignment.as_dict()}, weights


def predict_all(trained: "Trained", documents: Sequence[Document]) -> list[Document]:
    """What a model says of the documents."""
    from clinnlp.labeling.predict import predict

    return list(predict(trained, documents))


def facts_of(settings: Finetune, trained: "Trained", splits: Splits, fitted: "Fit") -> dict[str, Any]:
    """What a reader must know beside the scores."""
    return {
        "task": type(settings.task).__name__,
        "base": settings.base or f"random weights, architecture of {settings.like}",
        "strategy": type(settings.strategy).__name__,
        "train notes": len(splits.train),
        "dev notes": len(splits.dev),
        "test notes": len(splits.test),
        "steps": fitted.steps,
        "best step": fitted.best_step,
        "best dev score": fitted.best_score,
        "train seconds": round(fitted.seconds, 1),
        "device": fitted.device,
        "precision": fitted.precision,
        "peak MB": fitted.peak_bytes and round(fitted.peak_bytes / 1e6),
        "seed": settings.seed,
    }
