"""`clinnlp audit shift`: how far the notes of a target lie from those of a source, before a model is carried over."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from clinnlp.core.document import Document, Quarantined
from clinnlp.core.run import Run, write_json
from clinnlp.errors import QUARANTINED, ConfigError, DataError, LeakError
from clinnlp.evaluation.shift import MIN_NOTES
from clinnlp.formats.base import Format, read_records
from clinnlp.formats.jsonl import Jsonl
from clinnlp.recipes._audit_notes import drawn
from clinnlp.recipes._data import data_sha256, tell_set_aside, write_quarantine
from clinnlp.recipes._leaks import check_trained_on
from clinnlp.recipes._output import start_run

if TYPE_CHECKING:
    from clinnlp.encode.tokens import NoteTokenizer
    from clinnlp.evaluation.shift import Sides
    from clinnlp.models.load import Trained

log = logging.getLogger("clinnlp")


@dataclass(frozen=True)
class AuditShift:
    """Measure how far target notes lie from source notes, and say what that means for a model made on the source."""

    positionals: ClassVar[tuple[str, ...]] = ("source", "target")

    source: str
    """Notes that a model was, or will be, made on: a file, a folder or a quoted glob."""
    target: str
    """Notes that it is meant for."""
    out: Path
    """New folder for the report."""
    format: Format = field(default_factory=Jsonl, metadata={"flat": True})
    """How both are stored; its own options are set beside it (--text_field ...)."""
    target_format: Format | None = None
    """How the target is stored, if otherwise, with its options (--target_format csv --target_format.text_field T)."""
    model: str | None = None
    """A base model, for figures on its vectors and its perplexity, or a fine-tuned folder, for what it predicts too."""
    base: str | None = None
    """Where the base of a fine-tuned adapter lies, if it moved."""
    notes: int = 1000
    """Notes of each side that are looked at, at most, drawn by group."""
    block: int = 256
    """Longest row in tokens, specials included; longer notes are cut into pieces."""
    draws: int = 2
    """Draws of masks that the perplexity of a note is averaged over."""
    batch: int = 16
    """Rows per forward pass."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes the GPU if there is one."""
    seed: int = 13
    """Seed of draws, folds, permutations and intervals."""

    def __post_init__(self) -> None:
        for name, least in (("notes", MIN_NOTES), ("block", 8), ("draws", 1), ("batch", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"must be {least} or more", where=name)


def run(settings: AuditShift) -> int:
    """Do the audit; returns the exit status: 3 if records were set aside."""
    from clinnlp.evaluation.shift import note_shift, sides_of

    # 1. notes of both sides
    run = start_run("audit shift", settings, settings.out, settings.seed)
    run.clear()
    quarantined: list[Quarantined] = []
    counts: dict[str, int] = {}
    formats = {"source": settings.format, "target": settings.target_format or settings.format}
    held = {}
    for name, format in formats.items():
        path = getattr(settings, name)
        run.manifest.data[name] = data_sha256(path, format)
        held[name] = _read(path, format, name, counts, quarantined)
        counts[f"not drawn {name}"] = max(len(held[name]) - settings.notes, 0)
        held[name] = drawn(held[name], settings.notes, settings.seed)
    write_quarantine(run.folder, quarantined)
    tell_set_aside(quarantined)
    source, target = held["source"], held["target"]
    left_out = {name: count for name, count in counts.items() if count}

    # 2. figures that need no model
    try:
        facts = note_shift(source, target, settings.seed)
    except DataError as error:
        raise _with_counts(error, left_out) from None
    facts["left_out"] = left_out
    log.info("words: AUC %.3f of a domain classifier", facts["words"]["auc"])

    # 3. figures of a model
    if settings.model is not None:
        facts["model"] = _ask(settings, settings.model, sides_of(source, target), run)

    # 4. report
    from clinnlp.recipes._audit_shift import write_report

    write_json(run.folder / "metrics.json", {"format_version": 1, "shift": facts})
    print(write_report(run, facts))
    run.finish({"notes": facts["notes"]})
    log.info("report: %s", run.folder / "report.html")
    return QUARANTINED if quarantined else 0


def _read(
    path: str, format: Format, name: str, counts: dict[str, int], quarantined: list[Quarantined]
) -> list[Document]:
    """The notes with text; what is left out is counted."""
    documents = []
    for record in read_records(path, format):
        if isinstance(record, Quarantined):
            quarantined.append(record)
            counts[f"unreadable {name}"] = counts.get(f"unreadable {name}", 0) + 1
        elif record.text.strip():
            documents.append(record)
        else:
            counts[f"empty {name}"] = counts.get(f"empty {name}", 0) + 1
    return documents


def _with_counts(error: DataError, left_out: dict[str, int]) -> DataError:
    """The error with what was left out, as too few notes may be left of many."""
    told = ", ".join(f"{count:,} {name}" for name, count in left_out.items())
    return DataError(f"{error.what}; left out: {told}" if told else error.what, where=error.where, next=error.next)


def _ask(settings: AuditShift, name: str, sides: "Sides", run: Run) -> dict[str, Any]:
    """What a model, fine-tuned or not, sees of both sides."""
    from clinnlp.evaluation.shift import feature_shift
    from clinnlp.models.device import choose_device
    from clinnlp.models.folder import CARD
    from clinnlp.models.load import Base, load_trained, longest_row
    from clinnlp.training.domain import note_vectors

    device = choose_device(settings.device)
    run.manifest.weights = {"model": Base(name).sha256()}
    made: dict[str, Any] = {}
    trained = None
    if (Path(name) / CARD).is_file():
        trained = load_trained(Path(name), settings.base)
        model, tokenizer = trained.model, trained.tokenizer
        made["predictions"] = _predictions(settings, trained, sides)
    else:
        tokenizer = Base(name).tokenizer()
        model, fresh = Base(name).model("AutoModelForMaskedLM")
        Base(name).fits(tokenizer, model)
    size = longest_row(model, settings.block)
    model.to(device).eval()
    notes = [_rows(tokenizer, document.text, size) for document in sides.documents]
    vectors = note_vectors(model, notes, tokenizer.pad_id or 0, settings.batch)
    made["vectors"] = feature_shift(vectors, sides, settings.seed)
    log.info("vectors of the model: AUC %.3f of a domain classifier", made["vectors"]["auc"])
    if trained is None:
        made["perplexity"] = None if fresh else _perplexity(settings, model, tokenizer, size, sides)
    return made


def _rows(tokenizer: "NoteTokenizer", text: str, size: int) -> list[Any]:
    (tokens,) = tokenizer.encode_many([text])
    room = size - tokenizer.specials
    return [tokenizer.wrap(tokens.ids[first : first + room]) for first in range(0, max(len(tokens.ids), 1), room)]


def _perplexity(
    settings: AuditShift, model: Any, tokenizer: "NoteTokenizer", size: int, sides: "Sides"
) -> dict[str, Any]:
    """How well a masked LM expects the notes of both sides."""
    from clinnlp.evaluation.shift_words import perplexity_gap
    from clinnlp.objectives.mlm import Mlm
    from clinnlp.training.memorisation import masked_notes, note_losses

    Mlm().prepare(model)
    source = masked_notes(sides.documents, tokenizer, size, settings.seed)
    losses, masked = note_losses(model, source, settings.draws, settings.batch)
    return perplexity_gap(losses, masked, sides, settings.seed)


def _predictions(settings: AuditShift, trained: "Trained", sides: "Sides") -> dict[str, Any]:
    """What a fine-tuned model says of both sides, how it errs on the source, and the target's classes from both."""
    from clinnlp.evaluation.shift_labels import estimated_shares, label_shift
    from clinnlp.labeling.predict import predict

    said = list(predict(trained, sides.documents))
    seen = type(sides)(said, sides.target, sides.groups, sides.units)
    task, schema = trained.task, trained.schema
    what: Literal["labels", "spans"] = "spans" if any(d.spans for d in said) else "labels"
    made: dict[str, Any] = {"kind": what, "shift": label_shift(seen, what, settings.seed), "score": task.dev_score}
    source = [d for d, is_target in zip(sides.documents, sides.target, strict=True) if not is_target]
    made |= {"source_risk": None, "why_no_risk": None, "estimated": None}
    gold = [set(task.gold_labels(document)) for document in source]
    try:
        check_trained_on(Path(str(settings.model)), source, ())
    except LeakError as error:
        made["why_no_risk"] = error.what
        return made
    if not any(gold):
        made["why_no_risk"] = "the source notes have no labels"
    elif unknown := set().union(*gold) - set(schema.labels):
        made["why_no_risk"] = f"the source has {len(unknown)} labels that the model does not know"
    else:
        made["source_risk"] = _risk(trained, source, said[: len(source)], settings.seed)
        if what == "labels":
            made["estimated"] = estimated_shares(sides, said, schema.labels, settings.seed)
    return made


def _risk(trained: "Trained", gold: Sequence[Document], said: Sequence[Document], seed: int) -> dict[str, Any] | None:
    """1 minus the score that chose the model's weights, on the source notes, with its interval."""
    found: Any = trained.task.evaluate(gold, said, trained.schema, seed).as_dict()
    *path, last = trained.task.dev_score.split(".")
    for key in path:
        found = found[key]
    if found[last] is None:
        return None
    interval = found.get(f"{last}_interval")
    turned = {**interval, "low": 1 - interval["high"], "high": 1 - interval["low"]} if interval else None
    return {"value": 1 - found[last], "interval": turned}
