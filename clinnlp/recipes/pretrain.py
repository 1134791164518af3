"""`clinnlp pretrain`: continued pretraining of an encoder on notes, or pretraining from random weights."""

import logging
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clinnlp.config import name_of
from clinnlp.core.run import Run, write_json
from clinnlp.core.spool import Texts
from clinnlp.errors import QUARANTINED, ConfigError
from clinnlp.objectives.base import Objective
from clinnlp.objectives.mlm import Mlm
from clinnlp.recipes._leaks import remember_trained_on
from clinnlp.recipes._output import CHECKPOINTS, checkpoints_of, start_run
from clinnlp.recipes._pretraining_data import Corpus, Labeled, PretrainingData, Replay, block_source, read_notes
from clinnlp.recipes._pretraining_measures import NOTES, Measures, corpus_shift, held_out_rows
from clinnlp.recipes._pretraining_model import Scratch, adapted_model, starting_model, whole_model
from clinnlp.recipes._pretraining_report import write_card, write_report
from clinnlp.recipes._pretraining_vocabulary import Vocabulary, extend
from clinnlp.strategies.base import Strategy
from clinnlp.strategies.full import Full
from clinnlp.strategies.lora import Lora
from clinnlp.text.duplicates import SIMILARITY
from clinnlp.training.settings import FitSettings
from clinnlp.version import VERSION

if TYPE_CHECKING:
    from clinnlp.encode.tokens import NoteTokenizer
    from clinnlp.training.fit import Fit
    from clinnlp.training.pretraining import BlockSource

log = logging.getLogger("clinnlp")

RATES = (1e-4, 5e-4)  # of all weights, and of adapters


@dataclass(frozen=True)
class More:
    """One more objective, trained beside the first on rows of its own."""

    objective: Objective = field(default_factory=Mlm, metadata={"flat": True})
    """Its name; its options stand beside it."""
    weight: float = 1.0
    """Its mean loss is added with this weight."""

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ConfigError("must be over 0", where="more.weight")


@dataclass(frozen=True)
class Pretrain:
    """Adapt an encoder to clinical notes by masked language modelling, or pretrain one from random weights."""

    out: Path
    """New folder for the run."""
    base: str | None = None
    """Base model: a folder, clinnlp-mini, or a hub name; null starts from random weights (scratch)."""
    revision: str | None = None
    """Commit of a hub base, 40 hex digits."""
    download: bool = False
    """Allow the base to be downloaded from the hub; clinnlp is offline otherwise."""
    scratch: Scratch = field(default_factory=Scratch)
    """The architecture when there is no base."""
    data: PretrainingData = field(default_factory=PretrainingData)
    """The notes, with annotations for objectives that need them."""
    corpora: tuple[Corpus, ...] = ()
    """More notes, each with its own format."""
    replay: Replay = field(default_factory=Replay)
    """Source text: some is trained on beside the notes, some held out to measure what is forgotten."""
    probe: Labeled = field(default_factory=Labeled)
    """Labeled notes on which the frozen encoder is probed before and after."""
    root: Path = Path()
    """Folder that relative paths of notes start from."""
    near_duplicates: float | None = SIMILARITY
    """Notes that share so much of their runs of five words with an earlier one are left out; null keeps them."""
    surrogates: bool = False
    """Fill placeholders of de-identification (___, [**...**]) with made-up values; they are read and never guessed."""
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    """New entries of the vocabulary."""
    held_out: float = 0.05
    """Share of the distinct notes (by group) that perplexity is measured on and that is never trained on."""
    held_out_notes: int = 2000
    """Hold out about so many notes at most."""
    objective: Objective = field(default_factory=Mlm)
    """The pretraining loss."""
    more: tuple[More, ...] = ()
    """More objectives at the same time, each with its weight."""
    strategy: Strategy = field(default_factory=Full)
    """Which weights move: all (full), or adapters (lora), which are saved beside the model that holds them."""
    block: int = 512
    """Longest row in tokens, specials included."""
    dropout: float | None = None
    """Dropout of hidden states while pretraining; null takes the objective's, 0 for masked LM. The saved config keeps
    the base's."""
    packing: bool = True
    """Put pieces of several notes into one row, none seeing another."""
    attention: Literal["masked", "varlen"] = "masked"
    """How the pieces of a row are kept apart: by a mask, or each computed alone (flash-attn on GPUs that have it)."""
    compile: bool = False
    """Compile the encoder (torch.compile) for rows of one width: some minutes at first, faster steps on a GPU."""
    store: Literal["fp32", "fp16"] = "fp32"
    """Number format of the saved weights."""
    fit: FitSettings = field(
        default_factory=lambda: FitSettings(
            epochs=1, batch=8, schedule="wsd", warmup=0.06, weight_decay=0.01, beta2=0.98
        )
    )
    """The training loop; with fit.evaluations the held-out loss is measured on the way, as a score of less than 0."""
    seed: int = 13
    """Seed of weights, order and masks."""

    def __post_init__(self) -> None:
        if self.data.train is None and not self.corpora:
            raise ConfigError("this setting is required", where="data.train", next="give --data.train PATH")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ConfigError("must be a share from 0 to under 1", where="dropout")
        if self.fit.batch < 2 and any(objective.compares for objective in self.objectives):
            raise ConfigError(
                "an objective compares the rows of a batch", where="fit.batch", next="give 2 or more; 32 is usual"
            )
        names = [name_of(objective) for objective in self.objectives]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"objective {twice[0]} is given twice", where="more", next="give each objective once")
        if not isinstance(self.strategy, Full | Lora):
            raise ConfigError("pretrain moves all weights or adapters", where="strategy", next="choose full or lora")
        if self.near_duplicates is not None and not 0 < self.near_duplicates <= 1:
            raise ConfigError("must be a share over 0, at most 1", where="near_duplicates")
        if self.compile and self.attention == "varlen":
            raise ConfigError("pieces of unlike lengths cannot be compiled", where="compile", next="leave one of both")
        if not 0 < self.held_out < 1:
            raise ConfigError("must be a share between 0 and 1", where="held_out")
        if self.held_out_notes < 1:
            raise ConfigError("must be 1 or more", where="held_out_notes")

    @property
    def objectives(self) -> list[Objective]:
        """All objectives, the first one first."""
        return [self.objective, *(more.objective for more in self.more)]


def run(settings: Pretrain) -> int:
    """Do the pretraining; returns the exit status."""
    # 1. notes: distinct texts, some of them held out
    run = start_run("pretrain", settings, settings.out, settings.seed)
    run.clear(CHECKPOINTS)
    notes = read_notes(settings, run)
    texts = Texts(notes.train)
    objectives = [objective.on(notes.train + notes.held_out) for objective in settings.objectives]

    # 2. model and tokenizer, and the notes as rows
    from clinnlp.training.dropout import set_dropout
    from clinnlp.training.fit import fit
    from clinnlp.training.pretraining import MixedSource, compile_encoder
    from clinnlp.training.probe import Probe

    model, tokenizer, fresh = starting_model(settings, texts, run)
    tokenizer, new_ids, vocabulary = extend(settings.vocabulary, notes, model, tokenizer)
    size, packed = _shape_of_rows(settings, model, tokenizer)
    rows = partial(block_source, tokenizer=tokenizer, size=size, packed=packed, seed=settings.seed, folder=run.folder)
    first, *others = [rows(objective, notes.train) for objective in objectives]
    facts = _told(first, size) | {"vocabulary": vocabulary, "shift": corpus_shift(notes, settings.seed)}

    # 3. train, with what is held out measured before and after
    guesses = not fresh or any(objective.guesses_tokens for objective in objectives)
    measures = Measures(model, settings.fit.batch)
    measures.sources = held_out_rows(notes, objectives, guesses, rows)
    measures.probe = Probe.of(notes.labeled, tokenizer, size) if notes.labeled else None
    for objective in objectives:
        objective.prepare(model)
    model = adapted_model(settings, model, fresh, new_ids)
    set_dropout(model, _dropout(settings))
    if settings.compile:
        compile_encoder(model, [first, *others])
    measures.take("before")
    checkpoints = checkpoints_of(run)
    judge = _stops_by(objectives[0], measures) if settings.fit.evaluations else ""
    score = (lambda: -measures.loss(judge)) if judge else None
    source = (
        MixedSource(first, [(m.weight, o) for m, o in zip(settings.more, others, strict=True)]) if others else first
    )
    fitted = fit(model, source, _groups(model, settings.fit), settings.fit, settings.seed, score, checkpoints)
    measures.take("after")

    # 4. save
    facts |= {"held_out": measures.facts, **_spent(fitted, first, settings.fit)}
    remember_trained_on(run, texts, "pretraining", settings.base)
    model = whole_model(model, run)
    for objective in objectives:
        objective.finish(model)
    _save(settings, run, model if guesses else model.base_model, tokenizer)
    _tell(settings, run, facts | {"history": fitted.history})
    run.finish(facts)
    checkpoints.remove()
    log.info("saved %s", run.folder / "model")
    return QUARANTINED if run.manifest.facts["notes"]["quarantined"] else 0


def _shape_of_rows(settings: Pretrain, model: Any, tokenizer: "NoteTokenizer") -> tuple[int, bool]:
    """The longest row, and whether pieces of several notes share one, which the model keeps apart as it is told."""
    from clinnlp.encode.varlen import use_varlen
    from clinnlp.models.load import longest_row
    from clinnlp.training.pretraining import can_pack

    size = longest_row(model, settings.block)
    if size <= tokenizer.specials:
        raise ConfigError(f"must be over {tokenizer.specials}, the special tokens of a row", where="block")
    if settings.attention == "varlen":
        use_varlen(model)
    packed = settings.packing and can_pack(model, tokenizer, size)
    if settings.packing and not packed:
        log.warning("this architecture cannot keep packed notes apart: one piece of a note per row")
    return size, packed


def _told(source: "BlockSource", size: int) -> dict[str, Any]:
    """What there is to train on, said and kept."""
    rows, tokens = len(source.lengths), len(source.blocks.store.ids)
    fill = float(source.lengths.sum() / (rows * size))
    log.info("%d tokens in %d rows of %d (%.0f %% full)", tokens, rows, size, 100 * fill)
    return {"tokens": tokens, "rows": rows, "row_size": size, "fill": fill, "packed": source.blocks.packed}


def _spent(fitted: "Fit", source: "BlockSource", settings: FitSettings) -> dict[str, Any]:
    from clinnlp.training.fit import plan_steps

    seen = int(source.lengths.sum()) * fitted.steps / plan_steps(len(source.lengths), settings)[1]
    return {
        "steps": fitted.steps, "train_seconds": round(fitted.seconds, 1),
        "tokens_per_second": round(seen / fitted.seconds, 1), "device": fitted.device, "precision": fitted.precision,
    }  # fmt: skip


def _stops_by(objective: Objective, measures: Measures) -> str:
    """The held-out loss that training may stop by: that of the first objective, or of masked tokens.

    Raises ConfigError if neither is measured.
    """
    if found := [name for name in (name_of(objective), NOTES) if name in measures.sources]:
        return found[0]
    raise ConfigError(
        f"the held-out notes have no targets of {name_of(objective)} to stop by", where="fit.evaluations",
        next="leave it out, or give more notes with what the objective needs",
    )  # fmt: skip


def _dropout(settings: Pretrain) -> float:
    return max(objective.dropout for objective in settings.objectives) if settings.dropout is None else settings.dropout


def _groups(model: Any, settings: FitSettings) -> list[dict[str, Any]]:
    from clinnlp.strategies.base import parameter_groups

    rate = settings.learning_rate or RATES[hasattr(model, "merge_and_unload")]
    return parameter_groups(model, [], rate, rate, settings.weight_decay)


def _save(settings: Pretrain, run: Run, model: Any, tokenizer: "NoteTokenizer") -> None:
    import torch

    folder = run.folder / "model"
    (model.half() if settings.store == "fp16" else model.to(torch.float32)).cpu().save_pretrained(folder)
    tokenizer.save(folder)


def _tell(settings: Pretrain, run: Run, facts: dict[str, Any]) -> None:
    """Write the scores, the report and the card of the model."""
    write_json(run.folder / "metrics.json", {"format_version": 1, "pretraining": facts})
    notes = run.manifest.facts["notes"]
    base = "random weights" if settings.base is None else f"weights sha256 {run.manifest.weights['base']}"
    shown = {"base": base, "notes": ", ".join(f"{count:,} {name}" for name, count in notes.items())}
    names = [name_of(settings.objective), *(f"{m.weight:g} {name_of(m.objective)}" for m in settings.more)]
    shown |= {"objective": " + ".join(names), "seed": str(settings.seed), "clinnlp": VERSION}
    write_report(run.folder, facts, shown)
    write_card(run.folder / "model", base, facts, notes)
    log.info("%s", (run.folder / "report.txt").read_text(encoding="utf-8"))
