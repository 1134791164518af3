"""`clinnlp evaluate`: scores of a model, or of predictions made elsewhere, against gold notes."""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from clinnlp.core.document import Document
from clinnlp.engines.base import Engine, engine_for, plain_engine, run_by
from clinnlp.errors import QUARANTINED, ConfigError
from clinnlp.formats.base import Format, read
from clinnlp.formats.jsonl import Jsonl
from clinnlp.labeling.agree import Bound
from clinnlp.recipes._data import DataSettings, check_labels, data_sha256, load_documents, read_as, write_quarantine
from clinnlp.recipes._history import base_notices, opening_notices, record_opening
from clinnlp.recipes._leaks import check_leaks, check_trained_on
from clinnlp.recipes._output import start_run
from clinnlp.recipes._scores import Scored
from clinnlp.tasks.span_attributes import SpanAttributes

log = logging.getLogger("clinnlp")


@dataclass(frozen=True)
class Evaluate:
    """Score a model or a file of predictions against gold notes, with a seqeval-style report."""

    out: Path
    """New folder for the report."""
    model: Path | None = None
    """Model folder of a finetune or export run; or give predictions."""
    base: str | None = None
    """Where an adapter's base model lies, if it moved."""
    engine: Literal["auto"] | Engine | None = None
    """How the model is run, such as packed-bf16; null runs it as torch in fp32, or as it was exported; auto is the
    fastest that keeps what fp32 says of data.dev and its F1 there, or of the test notes, whose labels are not looked
    at."""
    bound: Bound = field(default_factory=Bound)
    """With auto: how much the engine may change."""
    predictions: str | None = None
    """Predicted documents, joined to the gold ones by id."""
    predictions_format: Format = field(default_factory=Jsonl)
    """How the predictions are stored."""
    data: DataSettings = field(default_factory=DataSettings)
    """The gold notes are data.test; data.train and data.dev, where given, are searched for leaks, and data.train for
    the forms of entities that a model has seen."""
    task: Literal["ner", "note_classification", "span_attributes"] | None = None
    """What is scored of predictions; null scores spans and note labels as the data holds them."""
    seed: int = 13
    """Seed of the bootstrap intervals."""
    interval: Literal["percentile", "bca"] = "percentile"
    """Bootstrap interval of the headline scores and of labels: percentile, or bias-corrected and accelerated."""
    with_text: bool = False
    """Write notes.html too: the notes with gold and predicted spans side by side; it holds note text."""
    with_text_notes: int = 200
    """How many notes that page shows at most, those with the most errors."""

    def __post_init__(self) -> None:
        if (self.model is None) == (self.predictions is None):
            raise ConfigError("give either model or predictions", next="--model DIR or --predictions PATH")
        if self.predictions and (Path(self.predictions) / "run.json").is_file():
            raise ConfigError(
                "this is the folder of a labeling run, whose tables have no text", where="predictions",
                next="hand its labels over first: the label command again with --to jsonl --to_path FILE",
            )  # fmt: skip
        if self.data.test is None:
            raise ConfigError("this setting is required", where="data.test", next="give --data.test PATH")
        if self.with_text_notes < 1:
            raise ConfigError("must be 1 or more", where="with_text_notes")


def run(settings: Evaluate) -> int:
    """Do the evaluation; returns the exit status."""
    # 1. gold notes
    run = start_run("evaluate", settings, settings.out, settings.seed)
    run.clear()
    path = str(settings.data.test)
    quarantined: list[Any] = []
    gold = load_documents(path, settings.data, quarantined)
    run.manifest.data["test"] = data_sha256(path, settings.data.format)
    write_quarantine(run.folder, quarantined)
    known = {name: load_documents(where, settings.data, []) for name, where in
             (("train", settings.data.train), ("dev", settings.data.dev)) if where}  # fmt: skip
    waived = _check_leaks(settings, gold, known)

    # 2. predictions, read or made
    from clinnlp.evaluation.attributes import attribute_names
    from clinnlp.evaluation.score import evaluate

    facts: dict[str, Any] = {"notes": len(gold)} | ({"waived": "; ".join(waived)} if waived else {})
    if settings.model is not None:
        opened = opening_notices(settings.model, run.manifest.data["test"])
        scored, facts["engine"] = _with_model(settings, gold, known.get("dev", []))
        scored = replace(scored, waived=waived, notices=[*opened, *scored.notices])
        predicted = list(scored.predicted)
        facts |= {"model": str(settings.model)}
        Jsonl().write(predicted, run.folder / "predictions.jsonl")
    else:
        predicted = list(read(str(settings.predictions), settings.predictions_format))
        run.manifest.data["predictions"] = data_sha256(str(settings.predictions), settings.predictions_format)
        report = evaluate(gold, predicted, seed=settings.seed, task=settings.task, method=settings.interval)
        task = SpanAttributes(attributes=attribute_names(gold)) if settings.task == "span_attributes" else None
        scored = Scored(gold, predicted, report, task, waived=waived, seed=settings.seed)

    # 3. report
    scored = replace(scored, train=known.get("train", ()), read_as=_read_as(settings))
    scored.write(run, "clinnlp evaluate", facts)
    if settings.with_text:
        scored.write_text(run.folder, "clinnlp evaluate", settings.with_text_notes)
    if settings.model is not None:
        record_opening(settings.model, run, run.manifest.data["test"])
    run.finish(facts)
    print((run.folder / "report.txt").read_text(encoding="utf-8"))
    log.info("report: %s", run.folder / "report.html")
    return QUARANTINED if quarantined else 0


def _check_leaks(settings: Evaluate, gold: list[Document], known: dict[str, list[Document]]) -> list[str]:
    """What data.allow waives of the leaks into the test notes, as far as what was trained on is known."""
    waived: list[str] = []
    for name, documents in known.items():
        waived += check_leaks({name: documents, "test": gold}, settings.data.allow)
    if settings.model is not None:
        waived += check_trained_on(settings.model, gold, settings.data.allow)
    return waived


def _read_as(settings: Evaluate) -> dict[str, str]:
    told = read_as(str(settings.data.test), settings.data.format, "gold")
    if settings.predictions is not None:
        told |= read_as(settings.predictions, settings.predictions_format, "predicted")
    return told


def _with_model(settings: Evaluate, gold: list[Document], dev: list[Document]) -> tuple[Scored, str]:
    """What the model says of the notes, and the engine that it was run by."""
    from clinnlp.labeling.auto import try_on
    from clinnlp.labeling.predict import predict
    from clinnlp.models.load import load_trained

    trained = load_trained(Path(str(settings.model)), settings.base)
    engine = settings.engine
    if engine == "auto":  # what test notes are labeled with must not decide how they are read
        engine, _ = try_on(trained, dev or [replace(note, spans=(), labels=()) for note in gold], settings.bound)
    engine = engine_for(trained.card, engine)
    trained = run_by(trained, engine)
    check_labels(trained.task, gold, trained.schema, "test", settings.data)
    predicted = list(predict(trained, gold))
    report = trained.task.evaluate(gold, predicted, trained.schema, settings.seed, settings.interval)
    perfect = trained.task.perfect(gold, trained.tokenizer, trained.schema)
    notices = base_notices(trained.card.base, gold)
    scored = Scored(gold, predicted, report, trained.task, perfect, seed=settings.seed, notices=notices)
    return scored, " ".join(map(str, plain_engine(engine).values()))
