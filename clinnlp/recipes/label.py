"""`clinnlp label`: notes in any format become Parquet tables of spans and documents, exactly once."""

import hashlib
import json
import logging
import re
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from clinnlp import config
from clinnlp.core.run import MANIFEST, SETTINGS, Manifest, encode_json
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.engines.base import Engine, engine_of
from clinnlp.errors import QUARANTINED, ConfigError
from clinnlp.formats.base import Format
from clinnlp.formats.jsonl import Jsonl
from clinnlp.labeling.agree import Bound
from clinnlp.labeling.auto import Models, pin, pinned, try_engines
from clinnlp.labeling.counts import Counts
from clinnlp.labeling.engine import LabelingRun, open_run
from clinnlp.labeling.forecast import Forecast, Sample, forecast, use_a_share
from clinnlp.labeling.handover import check_target, hand_over
from clinnlp.labeling.model import Model, ModelFolder
from clinnlp.labeling.options import Options
from clinnlp.labeling.progress import Progress
from clinnlp.labeling.source import Notes
from clinnlp.labeling.store import Store, open_store
from clinnlp.labeling.together import Together
from clinnlp.models.folder import Card
from clinnlp.recipes._output import settings_yaml

log = logging.getLogger("clinnlp")

# Settings that change no label, or whose content is hashed instead; a run may go on with others of these.
NOT_SEMANTIC = {
    "model", "models", "base", "notes", "out", "to", "to_path", "plan", "price_per_hour", "batch_tokens", "workers",
    "on", "document_seconds", "max_failures", "quarantine_text", "extend", "relabel", "retry_quarantined",
    "verify_on_resume", "allow_version_change", "join", "engine", "bound",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Label(Options):
    """Label notes with a trained model into Parquet tables; a run that was stopped goes on where it was."""

    model: Path | None = None
    """Model folder of a finetune or export run; or give several as models."""
    models: dict[str, Path] = field(default_factory=dict)
    """Models that label in one pass, by names of your choice: --models.drugs DIR --models.type DIR."""
    spans_of: str | None = None
    """Of models, the one whose spans get the attributes that a model of span_attributes says, in the same pass; null:
    those that notes come with get them."""
    notes: str
    """The notes: a file, a folder or a quoted glob."""
    out: str
    """Folder, or URL of an object store, for the labels: new, or that of the same run, which is gone on with."""
    format: Format = field(default_factory=Jsonl, metadata={"flat": True})
    """How the notes are stored; its own options are set beside it (--text_field ...)."""
    exclude: dict[str, str | list[str]] = field(default_factory=dict)
    """Notes to leave out, by a field beside their text: --exclude.note_type [billing,consent]; each is counted."""
    base: str | None = None
    """Where an adapter's base model lies, if it moved."""
    engine: Literal["auto"] | Engine | None = None
    """How the model is run, such as packed-bf16; null is torch, or what an exported model was made for; auto is the
    fastest that says the same of some of your notes, tried once as the run begins."""
    bound: Bound = field(default_factory=Bound)
    """With auto: how much the engine may change."""
    to: Format | None = None
    """Hand the notes over in this format too, once all are labeled (--to omop, with its options: --to.schema cdm)."""
    to_path: str | None = None
    """The new file or folder, or the URL of the database, that they are handed over to."""
    plan: bool = False
    """Label nothing: probe the model on 200 of the notes, and say how long all of them will take."""
    price_per_hour: float | None = None
    """With plan: what an hour of this machine costs, for the price of a million notes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.to is None) != (not self.to_path):
            raise ConfigError("a format and a path go together", where="to", next="give --to and --to_path")
        if self.price_per_hour is not None and self.price_per_hour < 0:
            raise ConfigError("must be 0 or more", where="price_per_hour")
        if (self.model is None) == (not self.models):
            raise ConfigError(
                "give either model or models", next="--model DIR, or --models.NAME DIR for each of several"
            )
        if bad := [name for name in self.models if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)]:
            raise ConfigError(
                f"{len(bad)} names are not made of letters, digits, - and _ alone", where="models", next="choose others"
            )
        if self.spans_of is not None and self.spans_of not in self.models:
            raise ConfigError(
                "no model has this name", where="spans_of", next=f"give one of {', '.join(self.models) or 'models'}"
            )


def run(settings: Label) -> int:
    """Do the labeling; returns the exit status: 3 if documents were set aside."""
    # 1. what is labeled, and by what: nothing heavy is loaded
    source = Notes(settings.notes, settings.format, settings.exclude)
    source.files()
    source.check_apart(settings.out)
    if settings.to and settings.to_path:
        check_target(settings.to, settings.to_path)
    models, decided = _models(settings)
    if settings.plan:
        return _plan(settings, source, models, decided)
    model = _together(models, settings.spans_of)
    asked = replace(source, with_spans=model.reads_spans)
    values = config.plain(settings)
    semantic = {f"setting.{name}": json.dumps(value) for name, value in values.items() if name not in NOT_SEMANTIC}
    fingerprint = model.fingerprint() | semantic if decided else semantic

    def decide(store: Store) -> Model:
        use_a_share(settings)
        chosen = pin(store, models, lambda: Sample(source, settings).kept, settings.bound)
        return _together(chosen, settings.spans_of)

    # 2. the run: new, or gone on with
    with open_run(settings.out, asked, model, fingerprint, settings, None if decided else decide) as run:
        if run.is_finished:
            log.info("nothing to do: all %d shards of %s are labeled", len(run.shards), settings.out)
            _hand_over(run, settings)
            return QUARANTINED if run.counts.quarantined else 0
        settings = replace(settings, engine=_engine(run) or settings.engine)
        values, manifest = config.plain(settings), _manifest(run, settings)
        run.store.put(SETTINGS, settings_yaml("label", values).encode())
        run.store.put(MANIFEST, encode_json(manifest.as_dict()))

        # 3. label
        start, before = time.perf_counter(), run.counts.input
        with Progress(run.records, before) as progress:
            for done in run.label():
                progress.show(done.input)
        seconds = time.perf_counter() - start

        # 4. account for every note
        counts = run.finish()
        speed = (counts.input - before) / seconds
        facts = counts.as_dict() | {"label_seconds": round(seconds, 2), "notes_per_second": round(speed, 2)}
        run.store.put("counts.json", encode_json(facts))
        manifest.facts, manifest.status = facts, "done"
        run.store.put(MANIFEST, encode_json(manifest.as_dict()))
        _tell(counts, speed, settings.out)
        _hand_over(run, settings)
    return QUARANTINED if counts.quarantined else 0


def _models(settings: Label) -> tuple[Models, bool]:
    """What labels, and whether the engines are known: named, pinned by the run that is gone on with, or exported."""
    folders = settings.models or {"": Path(str(settings.model))}
    engine = settings.engine if isinstance(settings.engine, Engine) else None
    models = tuple(ModelFolder(folder, settings.base, engine, name) for name, folder in folders.items())
    if settings.engine != "auto":
        return tuple(replace(model, engine=model.runs_on()) for model in models), True
    if known := pinned(open_store(settings.out), models):
        return known, True
    for model in models:
        model.runs_on()  # raises what is wrong with the folder
    return models, all(Card.read(model.folder).engine for model in models)


def _together(models: Models, spans_of: str | None) -> ModelFolder | Together:
    """The models as one. Raises ConfigError if `spans_of` finds no spans, or no other says attributes of them."""
    if spans_of is not None:
        tasks = {model.name: Card.read(model.folder).task for model in models}
        source = tasks[spans_of]
        finds = source.dev_score.startswith("entity.") and not source.marks_spans
        if not finds or not any(task.marks_spans for task in tasks.values()):
            raise ConfigError(
                "this takes one model that finds spans and another that says attributes of them", where="spans_of",
                next="name a model of ner, beside one of span_attributes, or leave it out",
            )  # fmt: skip
    return Together(models, spans_of) if models[0].name else models[0]


def _engine(run: LabelingRun) -> Engine | None:
    """The engine of a run of one model."""
    told = run.fingerprint.get("engine")
    return engine_of(json.loads(told)) if told else None


def _plan(settings: Label, source: Notes, models: Models, decided: bool) -> int:
    """Tell how long the run would take; writes nothing, so an engine that is tried here is not kept."""
    sample = Sample(source, settings)
    if not decided:
        use_a_share(settings)
        models, _ = try_engines(models, sample.kept, settings.bound)
    told = forecast(sample, _together(models, settings.spans_of), settings)
    tokenizer = NoteTokenizer.load(models[0].folder)
    tokens = sum(map(len, tokenizer.encode_many([note.text for note in sample.kept])))
    share = tokens / max(sum(len(note.text) for note in sample.kept), 1)
    _tell_forecast(told, told.characters_per_second * share, settings.price_per_hour)
    return 0


def _manifest(run: LabelingRun, settings: Label) -> Manifest:
    """The record of the run as every verb keeps it; what it is resumed by is in run.json."""
    notes = hashlib.sha256(b"".join(bytes.fromhex(sha256) for _, sha256 in run.files)).hexdigest()
    weights = {name: sha256 for name, sha256 in run.fingerprint.items() if name.endswith(".safetensors")}
    return Manifest("label", config.plain(settings), config.fingerprint(settings), None, {"notes": notes}, weights)


def _hand_over(run: LabelingRun, settings: Label) -> None:
    """Write the labels in another format, if one was asked for; doing so again leaves a database as it is."""
    if settings.to and settings.to_path:
        written = hand_over(run.store, run.source, settings.to, settings.to_path)
        told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in written.items())
        log.info("handed over: %s", told)


def _tell_forecast(told: Forecast, tokens_per_second: float, price_per_hour: float | None) -> None:
    minutes = told.seconds / 60
    time_needed = f"{minutes:.1f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
    log.info("%d notes, of which the model reads %d: %d characters", told.records, told.read, told.characters)
    log.info(
        "probe of %d notes: %.0f tokens/s (%.0f characters/s) and %.1f GB of memory a worker, model loaded in %.1f s",
        told.probed, tokens_per_second, told.characters_per_second, told.peak_bytes / 1e9, told.load_seconds,
    )  # fmt: skip
    log.info("with %d workers: about %s, %.1f notes/s", told.workers, time_needed, told.notes_per_second)
    if price_per_hour is not None:
        log.info("a million notes like these: about %.2f at %.2f an hour", told.cost(price_per_hour), price_per_hour)


def _tell(counts: Counts, speed: float, out: str) -> None:
    log.info(
        "%d notes = %d labeled (%d of them empty) + %d set aside + %d excluded; %d spans; %.1f notes/s",
        counts.input, counts.labeled, counts.empty, counts.quarantined, counts.excluded, counts.spans, speed,
    )  # fmt: skip
    if counts.untokenizable:
        log.warning("%d notes hold only characters that the model's tokenizer drops", counts.untokenizable)
    for name, count in counts.by_label.most_common(30):
        log.info("  %-24s %d", name, count)
    for reason, count in counts.reasons.most_common(10):
        log.warning("set aside: %d x %s (see %s)", count, reason, f"{out}/quarantine")
    log.info("labels: %s", out)
