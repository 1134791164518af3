"""`clinnlp pretrain`: continued pretraining of an encoder on notes, or pretraining from random weights."""

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clinnlp.core.document import Document, Quarantined
from clinnlp.core.run import Run, sha256_files, write_json
from clinnlp.errors import QUARANTINED, ConfigError, DataError
from clinnlp.formats.base import Format, read_records
from clinnlp.formats.jsonl import Jsonl
from clinnlp.objectives.base import Objective
from clinnlp.objectives.mlm import Mlm
from clinnlp.recipes._data import DataSettings, data_sha256, write_quarantine
from clinnlp.recipes._leaks import remember_trained_on
from clinnlp.recipes._output import CHECKPOINTS, checkpoints_of, start_run
from clinnlp.recipes._pretraining_report import write_card, write_report
from clinnlp.training.settings import FitSettings
from clinnlp.version import VERSION

if TYPE_CHECKING:
    from clinnlp.encode.tokens import NoteTokenizer
    from clinnlp.training.pretraining import BlockSource

log = logging.getLogger("clinnlp")


@dataclass(frozen=True)
class Corpus:
    """One more set of notes to pretrain on."""

    notes: str
    """A file, a folder or a quoted glob."""
    format: Format = field(default_factory=Jsonl, metadata={"flat": True})
    """How the notes are stored; the options of the format stand beside its name."""


@dataclass(frozen=True)
class Scratch:
    """A new BERT with random weights, and a WordPiece vocabulary trained on the corpus."""

    layers: int = 4
    """Transformer layers."""
    hidden: int = 256
    """Width of a token vector."""
    heads: int = 4
    """Attention heads."""
    intermediate: int = 1024
    """Width of the feed-forward layer."""
    vocabulary: int = 10_000
    """Entries of the WordPiece vocabulary."""
    positions: int = 512
    """Longest row in tokens."""


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
    data: DataSettings = field(default_factory=DataSettings)
    """The notes; only data.train is read, and its annotations by objective entity_mlm alone."""
    corpora: tuple[Corpus, ...] = ()
    """More notes, each with its own format."""
    root: Path = Path()
    """Folder that relative paths of notes start from."""
    held_out: float = 0.05
    """Share of the distinct notes (by group) that perplexity is measured on and that is never trained on."""
    objective: Objective = field(default_factory=Mlm)
    """The pretraining loss."""
    block: int = 512
    """Longest row in tokens, specials included."""
    dropout: float = 0.0
    """Dropout while pretraining: a pass or three over a corpus does not overfit; the saved config keeps the base's."""
    packing: bool = True
    """Put pieces of several notes into one row, none seeing another."""
    store: Literal["fp32", "fp16"] = "fp32"
    """Number format of the saved weights."""
    fit: FitSettings = field(
        default_factory=lambda: FitSettings(
            epochs=1, batch=8, learning_rate=1e-4, schedule="wsd", warmup=0.06, weight_decay=0.01, beta2=0.98
        )
    )
    """The training loop; with fit.evaluations the held-out loss is measured on the way, as a score of less than 0."""
    seed: int = 13
    """Seed of weights, order and masks."""

    def __post_init__(self) -> None:
        if self.data.train is None and not self.corpora:
            raise ConfigError("this setting is required", where="data.train", next="give --data.train PATH")
        if not 0 <= self.dropout < 1:
            raise ConfigError("must be a share from 0 to under 1", where="dropout")
        if not 0 < self.held_out < 1:
            raise ConfigError("must be a share between 0 and 1", where="held_out")


def run(settings: Pretrain) -> int:
    """Do the pretraining; returns the exit status."""
    # 1. notes: distinct texts, some of them held out
    run = start_run("pretrain", settings, settings.out, settings.seed, resume=True)
    run.clear(CHECKPOINTS)
    train, held_out = _read(settings, run)
    texts = [document.text for document in train]

    # 2. model and tokenizer, and the notes as packed blocks
    from clinnlp.models.load import longest_row
    from clinnlp.training.fit import fit, plan_steps
    from clinnlp.training.pretraining import can_pack, masked_loss, set_dropout

    model, tokenizer = _model(settings, texts, run)
    size = longest_row(model, settings.block)
    packed = settings.packing and can_pack(model, tokenizer, size)
    if settings.packing and not packed:
        log.warning("this architecture cannot keep packed notes apart: one piece of a note per row")
    sources = [_source(settings, part, tokenizer, size, packed) for part in (train, held_out)]
    blocks = sources[0].blocks
    fill = float(blocks.lengths.sum() / (len(blocks) * size))
    log.info("%d tokens in %d rows of %d (%.0f %% full)", len(blocks.store.ids), len(blocks), size, 100 * fill)

    # 3. train, with the held-out perplexity before and after
    settings.objective.prepare(model)
    set_dropout(model, settings.dropout)
    before, targets = masked_loss(model, sources[1], settings.fit.batch)
    log.info("held-out perplexity before: %.2f (%d masked tokens)", math.exp(before), targets)
    checkpoints = checkpoints_of(run)
    groups = _groups(model, settings.fit)
    score = (lambda: -masked_loss(model, sources[1], settings.fit.batch)[0]) if settings.fit.evaluations else None
    fitted = fit(model, sources[0], groups, settings.fit, settings.seed, score, checkpoints)
    after, _ = masked_loss(model, sources[1], settings.fit.batch)
    log.info("held-out perplexity after: %.2f", math.exp(after))

    # 4. save
    seen = int(blocks.lengths.sum()) * fitted.steps / plan_steps(len(blocks), settings.fit)[1]
    facts = {
        "held_out": {"loss_before": before, "loss_after": after, "masked_tokens": targets,
                     "perplexity_before": math.exp(before), "perplexity_after": math.exp(after)},
        "tokens": len(blocks.store.ids), "rows": len(blocks), "row_size": size, "fill": fill, "packed": packed,
        "steps": fitted.steps, "train_seconds": round(fitted.seconds, 1),
        "tokens_per_second": round(seen / fitted.seconds, 1), "device": fitted.device, "precision": fitted.precision,
    }  # fmt: skip
    remember_trained_on(run, texts, "pretraining", settings.base)
    _save(settings, run, model, tokenizer)
    _tell(settings, run, facts | {"history": fitted.history})
    run.finish(facts)
    checkpoints.remove()
    log.info("saved %s", run.folder / "model")
    return QUARANTINED if run.manifest.facts["notes"]["quarantined"] else 0


def _read(settings: Pretrain, run: Run) -> tuple[list[Document], list[Document]]:
    """The notes of distinct texts to train on and those held out."""
    from clinnlp.text.splits import split

    corpora = [*settings.corpora]
    if settings.data.train is not None:
        corpora.insert(0, Corpus(settings.data.train, settings.data.format))
    distinct: dict[str, Document] = {}
    quarantined: list[Quarantined] = []
    hashes: dict[str, str] = {}
    notes = empty = 0
    for number, corpus in enumerate(corpora):
        path = str(settings.root / corpus.notes)
        hashes[f"corpus {number}"] = data_sha256(path, corpus.format)
        for record in read_records(path, corpus.format):
            if isinstance(record, Quarantined):
                quarantined.append(record)
                continue
            notes += 1
            empty += not record.text.strip()
            if record.text.strip():
                distinct.setdefault(record.text, record)
    if not distinct:
        where = ", ".join(str(settings.root / corpus.notes) for corpus in corpora)
        raise DataError("no documents with text", where=where, next="check the path and the format")
    settings.objective.check(list(distinct.values()))
    hashes |= {f"objective {number}": sha256_files([path]) for number, path in enumerate(settings.objective.files())}
    run.pin("data", hashes)
    parts = split(list(distinct.values()), {"train": 1 - settings.held_out, "held_out": settings.held_out}, seed=13)
    counts = {
        "notes": notes, "empty": empty, "repeated": notes - empty - len(distinct), "quarantined": len(quarantined),
        "train": len(parts["train"]), "held_out": len(parts["held_out"]),
    }  # fmt: skip
    run.manifest.facts["notes"] = counts
    write_quarantine(run.folder, quarantined)
    log.info("notes: %s", ", ".join(f"{count} {name}" for name, count in counts.items()))
    return parts["train"], parts["held_out"]


def _model(settings: Pretrain, texts: list[str], run: Run) -> "tuple[Any, NoteTokenizer]":
    """The model to train and its tokenizer, from a base or from nothing."""
    from transformers import BertConfig, BertForMaskedLM, set_seed

    from clinnlp.encode.tokens import NoteTokenizer
    from clinnlp.encode.vocabulary import train_wordpiece
    from clinnlp.models.folder import sha256_of
    from clinnlp.models.load import Base

    set_seed(settings.seed)
    if settings.base is not None:
        base = Base(settings.base, settings.revision, settings.download)
        tokenizer = base.tokenizer()
        model, fresh = base.model(settings.objective.model_class)
        base.fits(tokenizer, model)
        run.pin("weights", {"base": base.sha256()})
        if fresh:
            log.warning("the base has no language-model head: it gets a fresh one (%d new weights)", len(fresh))
        return model, tokenizer
    new = settings.scratch
    train_wordpiece(texts, new.vocabulary, new.positions, run.folder / "model")
    run.pin("weights", {"vocabulary": sha256_of(run.folder / "model" / "vocab.txt")})
    tokenizer = NoteTokenizer.load(run.folder / "model")
    log.info("trained a vocabulary of %d entries; starting from random weights", tokenizer.vocab_size)
    shape = BertConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=new.hidden, num_hidden_layers=new.layers,
        num_attention_heads=new.heads, intermediate_size=new.intermediate, max_position_embeddings=new.positions,
        pad_token_id=tokenizer.pad_id,
    )  # fmt: skip
    return BertForMaskedLM(shape), tokenizer


def _source(
    settings: Pretrain, notes: list[Document], tokenizer: "NoteTokenizer", size: int, packed: bool
) -> "BlockSource":
    from clinnlp.encode.marks import MarkedText
    from clinnlp.encode.packing import PackedBlocks, TokenStore
    from clinnlp.text.identified import placeholders
    from clinnlp.training.pretraining import BlockSource

    objective = settings.objective
    marked = (MarkedText(note.text, placeholders(note.text), objective.entities(note)) for note in notes)
    blocks = PackedBlocks(TokenStore.of(tokenizer, marked), tokenizer, size, packed)
    return BlockSource(blocks, objective, tokenizer, settings.seed)


def _groups(model: Any, settings: FitSettings) -> list[dict[str, Any]]:
    from clinnlp.strategies.base import parameter_groups

    rate = settings.learning_rate or 1e-4
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
    shown |= {"objective": type(settings.objective).__name__, "seed": str(settings.seed), "clinnlp": VERSION}
    write_report(run.folder, facts, shown)
    write_card(run.folder / "model", base, facts, notes)
    log.info("%s", (run.folder / "report.txt").read_text(encoding="utf-8"))
