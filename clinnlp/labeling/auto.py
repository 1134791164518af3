"""`--engine auto`: the engine of a run, chosen once on some of its own notes and kept in its folder."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from clinnlp.core.document import Document
from clinnlp.core.run import encode_json
from clinnlp.engines.base import Engine, engine_of, plain_engine
from clinnlp.labeling.agree import Bound
from clinnlp.labeling.choose import Trial, choose, table
from clinnlp.labeling.model import ModelFolder
from clinnlp.labeling.record import PINNED, last_record
from clinnlp.labeling.store import Store
from clinnlp.models.load import Trained, load_trained

log = logging.getLogger("clinnlp")

Models = tuple[ModelFolder, ...]


def pinned(store: Store, models: Models) -> Models | None:
    """The models with the engines that the run in a store has; None where none are chosen yet."""
    if record := last_record(store):
        told = {model: record.fingerprint.get(model.part("engine")) for model in models}
        return tuple(replace(m, engine=engine_of(json.loads(held))) if held else m for m, held in told.items())
    if chosen := store.get(PINNED):
        values = json.loads(chosen)
        return tuple(replace(model, engine=engine_of(values[model.part("engine")])) for model in models)
    return None


def pin(store: Store, models: Models, notes: Callable[[], Sequence[Document]], bound: Bound) -> Models:
    """The models with engines chosen on the notes, kept in the store with all trials.

    Of several processes that choose at a time, one is heeded; a run that was stopped since goes on with its choice.
    """
    if known := pinned(store, models):
        return known
    chosen, trials = try_engines(models, notes(), bound)
    engines = {model.part("engine"): plain_engine(model.runs_on()) for model in chosen}
    store.put_if_absent(PINNED, encode_json({**engines, "bound": asdict(bound), **trials}))
    return pinned(store, models) or chosen


def try_engines(models: Models, notes: Sequence[Document], bound: Bound) -> tuple[Models, dict[str, object]]:
    """The models, each with the fastest engine that keeps its spans, and the trials; tables of them are logged."""
    chosen, tried = [], dict[str, object]()
    for model in models:
        engine, trials = try_on(load_trained(model.folder, model.base), notes, bound)
        chosen.append(replace(model, engine=engine))
        tried[model.part("trials")] = [asdict(trial) for trial in trials]
    return tuple(chosen), tried


def try_on(trained: Trained, notes: Sequence[Document], bound: Bound) -> tuple[Engine, list[Trial]]:
    """The fastest engine that keeps the spans of one model, and the trials; a table of them is logged."""
    log.info("choosing an engine on some of the notes; this takes about half a minute")
    engine, trials = choose(trained, notes, bound)
    log.info("%s", table(trials) if trials else "nothing to try: it was exported, or no note holds text")
    return engine, trials
