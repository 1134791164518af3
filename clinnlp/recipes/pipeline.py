"""`clinnlp pipeline`: pretrain, finetune, evaluate and label in one config, each feeding the next."""

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clinnlp import config
from clinnlp.core.run import MANIFEST, is_done
from clinnlp.errors import ChangedError, ConfigError
from clinnlp.formats.base import Format
from clinnlp.recipes import evaluate, finetune, label, pretrain
from clinnlp.recipes._data import TARGETS, DataSettings, data_sha256
from clinnlp.recipes._output import start_run
from clinnlp.recipes._pretraining_data import TARGET, Corpus

log = logging.getLogger("clinnlp")

STAGES: dict[str, Any] = {"pretrain": pretrain, "finetune": finetune, "evaluate": evaluate, "label": label}
KINDS = {
    "pretrain": pretrain.Pretrain,
    "finetune": finetune.Finetune,
    "evaluate": evaluate.Evaluate,
    "label": label.Label,
}


@dataclass(frozen=True)
class Pipeline:
    """Run pretrain, finetune, evaluate and label from one config; a stage that is left out is skipped."""

    out: Path
    """New folder; each stage gets a folder of its name in it."""
    base: str | None = None
    """Base model of the first stage."""
    root: Path = Path()
    """Folder that relative paths of notes start from."""
    seed: int = 13
    """Seed of every stage that does not give its own."""
    pretrain: dict[str, Any] | None = None
    """Settings of `clinnlp pretrain`."""
    finetune: dict[str, Any] | None = None
    """Settings of `clinnlp finetune`; its base is the pretrained model."""
    evaluate: dict[str, Any] | None = None
    """Settings of `clinnlp evaluate`; its model is the fine-tuned one."""
    label: dict[str, Any] | None = None
    """Settings of `clinnlp label`; its model is the fine-tuned one."""


def run(settings: Pipeline) -> int:
    """Run the stages in order, but for those that an earlier try finished; returns the highest exit status."""
    stages = plan(settings)
    run = start_run("pipeline", settings, settings.out, settings.seed)
    status = 0
    for name, stage in stages.items():
        done = name != "label" and is_done(stage.out)  # label finds out by itself
        if done:
            _check_notes(name, stage)
        log.info("== %s%s", name, ", done before" if done else "")
        status = status if done else max(status, int(STAGES[name].run(stage)))
    run.finish({"stages": list(stages)})
    return status


def _check_notes(name: str, stage: Any) -> None:
    """Raises ChangedError if the notes of a stage that is done are others now; that they are gone is allowed."""
    before = json.loads((stage.out / MANIFEST).read_bytes())["data_sha256"]
    for part, path, format in _notes(stage):
        with contextlib.suppress(ConfigError):
            if before.get(part) not in (None, data_sha256(path, format)):
                raise ChangedError(
                    f"the notes of {name} ({part}) are not those that it read when it was done", where=str(stage.out),
                    kept="everything in it", next="give those notes to go on, or choose a new --out",
                )  # fmt: skip


def _notes(stage: Any) -> Iterator[tuple[str, str, Format]]:
    """The notes that a stage reads: their name in its manifest, their path and format."""
    if isinstance(stage, pretrain.Pretrain):
        first = [] if stage.data.train is None else [Corpus(stage.data.train, stage.data.format)]
        for number, corpus in enumerate([*first, *stage.corpora]):
            yield f"{TARGET} {number}", str(stage.root / corpus.notes), corpus.format
        return
    for part in ("train", "dev", "test"):
        if path := getattr(stage.data, part, None):
            yield part, str(path), stage.data.format


def plan(settings: Pipeline) -> dict[str, Any]:
    """The settings of every stage, checked before the first one starts. Raises ConfigError."""
    given = {name: value for name in STAGES if (value := getattr(settings, name)) is not None}
    if not given:
        raise ConfigError("no stage is given", next=f"give one of {', '.join(STAGES)}")
    stages: dict[str, Any] = {}
    base = settings.base
    for name, raw in given.items():
        values: dict[str, Any] = {"out": str(settings.out / name), **raw}
        if name in ("pretrain", "finetune", "evaluate"):
            values.setdefault("seed", settings.seed)
        if name in ("pretrain", "finetune") and base is not None:
            values.setdefault("base", base)
        if name in ("evaluate", "label") and "finetune" in stages and not values.keys() & {"predictions", "models"}:
            values.setdefault("model", str(stages["finetune"].out / "model"))
        stages[name] = _rooted(config.build(KINDS[name], values, name), settings.root)
        if name == "pretrain":
            base = str(stages[name].out / "model")
    return stages


def _rooted(stage: Any, root: Path) -> Any:
    """The stage with its relative paths of notes starting from `root`."""
    if isinstance(stage, label.Label):
        return replace(stage, notes=str(root / stage.notes))
    if isinstance(stage, pretrain.Pretrain):
        return replace(stage, root=root / stage.root)
    data: DataSettings = stage.data
    named = {name: getattr(data, name, None) for name in ("train", "dev", "test", *TARGETS)}
    rooted: dict[str, Any] = {name: str(root / path) for name, path in named.items() if path}
    return replace(stage, data=replace(data, **rooted))
