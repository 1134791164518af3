"""`clinnlp suggest`: which notes to annotate next."""

import logging
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clinnlp.core.document import Document, Quarantined
from clinnlp.core.run import Run
from clinnlp.errors import QUARANTINED, ConfigError, DataError
from clinnlp.formats.base import Format, write
from clinnlp.formats.jsonl import Jsonl
from clinnlp.models.folder import Card
from clinnlp.recipes._data import DataSettings, data_sha256, load_documents, write_quarantine
from clinnlp.recipes._output import start_run
from clinnlp.recipes._reading import Said, check_readable, read_in_parts
from clinnlp.recipes._worklist import Choice, Pool, choose, write_worklist

if TYPE_CHECKING:
    from clinnlp.models.load import Trained

log = logging.getLogger("clinnlp")

UNCERTAINTY = "uncertainty"
READINGS = ("reading", "preannotating")  # folders of parts, kept while the run lasts


@dataclass(frozen=True)
class Suggest:
    """Suggest which notes to annotate next: those that stand for the others, then those a model is unsure of."""

    notes: str
    """The notes without labels: a file, a folder or a quoted glob."""
    out: Path
    """New folder for the worklist and its report."""
    format: Format = field(default_factory=Jsonl, metadata={"flat": True})
    """How these notes are stored; its own options are set beside it (--text_field ...)."""
    labeled: str | None = None
    """Notes that are annotated already: suggested ones differ from them."""
    labeled_format: Format | None = None
    """How those are stored; null is as the notes."""
    held_out: str | None = None
    """Dev and test notes, stored as the labeled ones: neither they nor other notes of their patients are suggested."""
    model: Path | None = None
    """A fine-tuned model folder (ner or note_classification) that says of which notes it is unsure."""
    base: str | None = None
    """Where an adapter's base model lies, if it moved."""
    count: int = 50
    """How many notes to suggest."""
    per_group: int | None = None
    """Most notes of one group (patient); null sets no limit."""
    switch: float | None = None
    """Share of notes suggested because the model is unsure; null: 0 without a model or under switch_at labeled notes,
    else 0.5."""
    switch_at: int = 100
    """Labeled notes from which the model's uncertainty counts, where switch is null."""
    uncertainty: Literal["entropy", "least_confidence"] = "entropy"
    """Mean of the highest entropies of words, or one less the geometric mean of the probabilities of their tags; both
    independent of a note's length."""
    vectors: Literal["words", "model"] = "words"
    """What makes notes alike: TF-IDF of their words, or mean vectors of the model's encoder."""
    similarity: float = 0.8
    """Near-duplicates share so much of their runs of five words: one of them is suggested, none of a labeled note."""
    read: int = 2_000
    """Notes that the model reads at most, drawn by the seed among those that may be suggested."""
    preannotate: bool = False
    """Write what the model says into the worklist, to be corrected; annotators tend to leave it as it is."""
    to: Format = field(default_factory=Jsonl)
    """Format of the worklist, with its options (--to brat)."""
    bad_records: Literal["refuse", "quarantine"] = "refuse"
    """What to do with a record that cannot be read: stop, or set it aside, counted and named."""
    seed: int = 13
    """Seed of what is drawn."""

    def __post_init__(self) -> None:
        for name in ("count", "per_group", "switch_at", "read"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigError("must be 1 or more", where=name)
        if self.switch is not None and not 0 <= self.switch <= 1:
            raise ConfigError("must be a share from 0 to 1", where="switch")
        if not 0 < self.similarity <= 1:
            raise ConfigError("must be over 0, and 1 at most", where="similarity")
        needs = {"switch": bool(self.switch), "preannotate": self.preannotate, "vectors": self.vectors == "model"}
        if self.model is None and (asked := [name for name, value in needs.items() if value]):
            raise ConfigError("there is no model to ask", where=asked[0], next="give --model DIR, or leave it out")


def run(settings: Suggest) -> int:
    """Make the worklist; returns the exit status."""
    # 1. the notes
    run = start_run("suggest", settings, settings.out, settings.seed)
    run.clear(*READINGS)
    quarantined: list[Quarantined] = []
    pool = _pool(settings, run, quarantined)
    write_quarantine(run.folder, quarantined)
    share = _share(settings, len(pool.labeled))

    # 2. the model, if it is asked for anything
    trained = _model(settings, run) if share or settings.preannotate or settings.vectors == "model" else None
    read: dict[int, Document] = {}
    if share and trained is not None:
        places = pool.drawn(settings.read, settings.seed)
        read = dict(
            zip(places, _read(settings, run, trained, [pool.notes[n] for n in places], READINGS[0]), strict=True)
        )
    vectors = _encoded(trained, pool) if settings.vectors == "model" and trained is not None else None

    # 3. choose
    unsure = {place: float(note.meta[UNCERTAINTY]) for place, note in read.items()}
    chosen = choose(pool, settings.count, share, unsure, vectors, settings.seed)
    if not chosen.choices:
        raise DataError(
            f"none of the {len(pool.notes):,} notes may be suggested: {chosen.told(pool)}", where="notes",
            next="give other notes",
        )  # fmt: skip
    documents = [pool.notes[choice.place] for choice in chosen.choices]
    if settings.preannotate and trained is not None:
        documents = _read(settings, run, trained, documents, READINGS[1])

    # 4. the worklist and its report
    listed = [_listed(*one, settings.preannotate) for one in zip(documents, chosen.choices, strict=True)]
    path = run.folder / _name(settings.to)
    written = write(listed, path, settings.to)
    facts = write_worklist(run, pool, chosen, (share, len(read), settings.preannotate), written)
    for name in READINGS:
        shutil.rmtree(run.folder / name, ignore_errors=True)
    run.finish(facts)
    log.info("%s", (run.folder / "report.txt").read_text(encoding="utf-8"))
    log.info("worklist: %s", path)
    return QUARANTINED if quarantined else 0


def _pool(settings: Suggest, run: Run, quarantined: list[Quarantined]) -> Pool:
    """The notes, those that are labeled, and those held out, with what may be suggested."""
    ours = DataSettings(format=settings.format, bad_records=settings.bad_records)
    other = replace(ours, format=settings.labeled_format or settings.format)
    parts: dict[str, list[Document]] = {}
    hashes: dict[str, str] = {}
    for name, path, how in (
        ("notes", settings.notes, ours), ("labeled", settings.labeled, other), ("held out", settings.held_out, other)
    ):  # fmt: skip
        parts[name] = load_documents(path, how, quarantined) if path else []
        hashes |= {name: data_sha256(path, how.format)} if path else {}
    run.pin("data", hashes)
    notes = [replace(note, spans=(), labels=()) for note in parts["notes"]]
    return Pool.of(notes, parts["labeled"], parts["held out"], settings.similarity, settings.per_group)


def _share(settings: Suggest, labeled: int) -> float:
    if settings.switch is not None:
        return settings.switch
    return 0.5 if settings.model is not None and labeled >= settings.switch_at else 0.0


def _model(settings: Suggest, run: Run) -> "Trained":
    folder = Path(str(settings.model))
    if not folder.is_dir():
        raise ConfigError("no such model folder", where=str(folder), next="check --model")
    check_readable(Card.read(folder).task, "model")
    from clinnlp.engines.base import run_by
    from clinnlp.models.folder import weights_sha256
    from clinnlp.models.load import load_trained

    run.pin("weights", {"model": weights_sha256(folder)})
    return run_by(load_trained(folder, settings.base), None)


def _read(settings: Suggest, run: Run, trained: "Trained", notes: list[Document], name: str) -> list[Document]:
    from clinnlp.evaluation.uncertainty import of_labels, of_units

    def keep(said: Said) -> Document:
        if said.tokens is not None:
            value = of_units(said.logits, said.chances, settings.uncertainty)
        else:
            scores = said.document.meta["label_scores"]
            value = of_labels(scores, bool(getattr(trained.task, "multi_label", False)), settings.uncertainty)
        return replace(said.document, meta={**said.document.meta, UNCERTAINTY: value})

    return read_in_parts(run, name, trained, notes, keep)


def _encoded(trained: "Trained", pool: Pool) -> Any:
    from clinnlp.text.diversity import centred
    from clinnlp.training.domain import note_vectors

    texts = [note.text for note in pool.all]
    tokens = trained.tokenizer.encode_many(texts)
    rows = [
        [row.ids for row in trained.task.cut(document, t, trained.tokenizer)]
        for document, t in zip(pool.all, tokens, strict=True)
    ]
    log.info("the encoder reads %d notes", len(texts))
    return centred(np.asarray(note_vectors(trained.model, rows, trained.tokenizer.pad_id or 0, 16)))


def _listed(document: Document, choice: Choice, preannotated: bool) -> Document:
    """The note with its place in the list; without what the model said, unless that is asked for."""
    told = {"rank": choice.rank, "reason": choice.reason, "score": choice.score}
    meta = {name: value for name, value in document.meta.items() if name != UNCERTAINTY}
    kept = replace(document, meta={**meta, "suggested": told})
    return kept if preannotated else replace(kept, spans=(), labels=())


def _name(format: Format) -> str:
    """A folder for a format of pairs of files, else one file."""
    pairs = type(format).select is not Format.select
    return "worklist" if pairs else f"worklist{type(format).suffixes[0]}"
