"""`--engine auto`: the engine of a run, chosen once on some of its own notes and kept in its folder."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from clinnlp.core.document import Document
from clinnlp.core.run import encode_json
from clinnlp.engines.base import engine_of, plain_engine
from clinnlp.labeling.agree import Bound
from clinnlp.labeling.choose import choose, table
from clinnlp.labeling.model import ModelFolder
from clinnlp.labeling.record import PINNED, last_record
from clinnlp.labeling.store import Store
from clinnlp.models.load import load_trained

log = logging.getLogger("clinnlp")


def pinned(store: Store, model: ModelFolder) -> ModelFolder | None:
    """The model with the engine that the run in a store has; None where none is chosen yet."""
    if record := last_record(store):
        told = record.fingerprint.get("engine")
        return replace(model, engine=engine_of(json.loads(told))) if told else model
    if chosen := store.get(PINNED):
        return replace(model, engine=engine_of(json.loads(chosen)["engine"]))
    return None


def pin(store: Store, model: ModelFolder, notes: Callable[[], Sequence[Document]], bound: Bound) -> ModelFolder:
    """The model with an engine chosen on the notes, kept in the store with all trials.

    Of several processes that choose at a time, one is heeded; a run that was stopped since goes on with its choice.
    """
    if known := pinned(store, model):
        return known
    chosen, trials = try_engines(model, notes(), bound)
    values = {"engine": plain_engine(chosen.runs_on()), "bound": asdict(bound), "trials": trials}
    store.put_if_absent(PINNED, encode_json(values))
    return pinned(store, model) or chosen


def try_engines(
    model: ModelFolder, notes: Sequence[Document], bound: Bound
) -> tuple[ModelFolder, list[dict[str, object]]]:
    """The model with the fastest engine that keeps the spans, and the trials; the table of them is logged."""
    log.info("choosing an engine on some of the notes; this takes about half a minute")
    engine, trials = choose(load_trained(model.folder, model.base), notes, bound)
    log.info("%s", table(trials) if trials else "nothing to try engines on: no note holds text")
    return replace(model, engine=engine), [asdict(trial) for trial in trials]
