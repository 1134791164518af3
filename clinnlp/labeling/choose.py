"""The fastest engine that keeps the spans, found out on some of the user's own notes."""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from clinnlp.core.document import Document
from clinnlp.engines.base import Engine, engine_named, engine_of
from clinnlp.errors import ConfigError
from clinnlp.labeling.agree import Bound, agreement, known_gold
from clinnlp.labeling.predict import BATCH_TOKENS, predict_chunk
from clinnlp.models.load import Runner, Trained

NOTES = 200
SECONDS = 30.0
REFERENCE = "torch-fp32"
CANDIDATES = (  # those that were fastest on most machines first: time may run out
    "packed-bf16", "packed-fp32", "openvino-bf16", "openvino-int8", "onnx-int8", "torch-bf16", "openvino-fp32",
    "onnx-fp32",
)  # fmt: skip
MARGIN = 1.05  # how much faster the next one must be: less is noise


@dataclass(frozen=True)
class Trial:
    """What was found out about one engine; None is what was not measured."""

    name: str
    outcome: str
    tokens_per_second: float | None = None
    load_seconds: float | None = None
    agreement: float | None = None
    """With torch in fp32: strict F1 of spans, or the share of notes with equal labels."""
    notes: int | None = None
    """On how many notes that was found."""


@dataclass(frozen=True)
class _Probe:
    """The notes that are read, what fp32 says of them, and the rows that are timed with their seconds in fp32."""

    notes: list[Document]
    fp32: list[Document]
    rows: list[Any]
    seconds: float


def choose(
    trained: Trained,
    documents: Sequence[Document],
    bound: Bound | None = None,
    seconds: float = SECONDS,
    candidates: Sequence[str] = CANDIDATES,
) -> tuple[Engine, list[Trial]]:
    """The fastest engine that is installed, runs the model and agrees with torch in fp32, and all that were tried.

    Reads up to 200 of the documents, fewer where the model is slow, and starts no further engine after four fifths of
    `seconds`. Torch in fp32 where nothing is faster or the notes hold no text. What `export` made has its engine.
    """
    if trained.card.engine:
        return engine_of(trained.card.engine), []
    start = time.perf_counter()
    best = REFERENCE
    probe = _probe(trained, documents, seconds)
    if not probe.rows:
        return engine_named(best), []
    tokens = sum(map(len, probe.rows))
    fastest = probe.seconds
    trials = [Trial(REFERENCE, "the measure of the others", tokens / fastest, 0.0, 1.0, len(probe.notes))]
    for name in candidates:
        if time.perf_counter() - start > 0.8 * seconds:
            trials.append(Trial(name, "not tried: time was up"))
            continue
        trial, took = _try(name, trained, probe, fastest / MARGIN, bound or Bound())
        trials.append(trial)
        if trial.outcome == "keeps the spans":
            best, fastest = name, took
    return engine_named(best), [replace(t, outcome="chosen") if t.name == best else t for t in trials]


def table(trials: Sequence[Trial]) -> str:
    """The trials as lines of text."""
    lines = [f"{'engine':<14} {'tokens/s':>9} {'load s':>7} {'agreement':>10} {'on notes':>8}  outcome"]
    for trial in trials:
        speed = "-" if trial.tokens_per_second is None else f"{trial.tokens_per_second:,.0f}"
        load = "-" if trial.load_seconds is None else f"{trial.load_seconds:.1f}"
        agreed = "-" if trial.agreement is None else f"{100 * trial.agreement:.2f} %"
        notes = "-" if trial.notes is None else trial.notes
        lines.append(f"{trial.name:<14} {speed:>9} {load:>7} {agreed:>10} {notes:>8}  {trial.outcome}")
    return "\n".join(lines)


def _probe(trained: Trained, documents: Sequence[Document], seconds: float) -> _Probe:
    """As many notes as fp32 reads in a sixth of the time, a thirtieth of it for those that are timed."""
    distinct = list({document.text: document for document in documents if document.text.strip()}.values())
    notes = random.Random(0).sample(distinct, min(NOTES, len(distinct)))
    tokens = trained.tokenizer.encode_many([note.text for note in notes])
    cut = [
        [row.ids for row in trained.task.cut(note, t, trained.tokenizer)] for note, t in zip(notes, tokens, strict=True)
    ]
    run = engine_named(REFERENCE).runner(trained)
    count, rows, took = 1, list[Any](), 0.0
    while notes:
        rows = [row for note in cut[:count] for row in note]
        took = _seconds(run, rows)
        if took > seconds / 30 or count >= len(notes):
            break
        count = min(2 * count, len(notes))
    read = notes[: max(count, min(len(notes), int(count * seconds / 6 / took)))] if notes else []
    return _Probe(read, predict_chunk(replace(trained, runner=run), read, BATCH_TOKENS) if read else [], rows, took)


def _try(name: str, trained: Trained, probe: _Probe, to_beat: float, bound: Bound) -> tuple[Trial, float]:
    """One engine: loaded, timed and, if it takes less than `to_beat` seconds, compared with fp32."""
    start = time.perf_counter()
    try:
        run: Runner = engine_named(name).runner(trained)
        loaded = time.perf_counter() - start
        took = min(_seconds(run, probe.rows) for _ in range(2))
    except ConfigError as error:
        return Trial(name, error.what), 0.0
    except Exception as error:  # one engine that fails is no reason not to use another
        return Trial(name, f"failed ({type(error).__name__})"), 0.0
    measured = Trial(name, "slower", sum(map(len, probe.rows)) / took, loaded)
    if took > to_beat:
        return measured, took
    said = predict_chunk(replace(trained, runner=run), probe.notes, BATCH_TOKENS)
    found = agreement(trained.task, probe.fp32, said, known_gold(trained.task, trained.schema, probe.notes))
    if math.isnan(found.share):
        return replace(measured, outcome="not proven: the model finds nothing in these notes", notes=found.notes), took
    outcome = "keeps the spans" if found.holds(bound) else "changes too much"
    return replace(measured, outcome=outcome, agreement=found.share, notes=found.notes), took


def _seconds(run: Runner, rows: list[Any]) -> float:
    start = time.perf_counter()
    run(rows, BATCH_TOKENS)
    return time.perf_counter() - start
