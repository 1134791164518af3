"""Checkpoints of a training loop: whole or absent, checked by hash before they are opened, and without pickle."""

import json
import logging
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from clinnlp.core.ranks import rank
from clinnlp.core.run import write_json
from clinnlp.errors import IntegrityError, StorageError
from clinnlp.models.folder import sha256_of

log = logging.getLogger("clinnlp")

COMPLETE = "COMPLETE.json"  # written last: a folder without it is torn
PROGRESS = "progress.json"
KEPT = 2

Tensors = dict[str, torch.Tensor]


@dataclass
class Progress:
    """How far a loop has come, in plain values: its steps, its history, and what decides about stopping."""

    step: int = 0
    scored: int = 0
    worse: int = 0
    best_score: float | None = None
    best_step: int | None = None
    loss: float | None = None
    summed: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass
class State:
    """All that a loop needs to go on as if it had never stopped."""

    progress: Progress
    device: str
    precision: str
    weights: Tensors
    optimizer: Tensors
    random: Tensors
    best: Tensors
    average: Tensors


TENSORS = ("weights", "optimizer", "random", "best", "average")


class Checkpoints:
    """The checkpoints in a folder, the last two of which are kept.

    Each is a folder of its own, named by its step and the step that was scored last, written aside, flushed to disk
    and then renamed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, state: State) -> Path:
        """Write one; returns its folder. Raises StorageError, with the ones before it intact, if the disk is full."""
        final = self.folder / f"step-{state.progress.step:08d}-{state.progress.scored:08d}"
        if final in self._whole():
            return final
        aside = final.with_name(f".{final.name}.tmp")
        try:
            for left in self._torn():
                shutil.rmtree(left)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            aside.mkdir(mode=0o700)
            self._fill(aside, state)
            aside.rename(final)
            _flush(self.folder)
            for old in self._whole()[:-KEPT]:
                shutil.rmtree(old)
        except (OSError, SafetensorError, StorageError) as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise StorageError(
                f"cannot save a checkpoint: {getattr(error, 'strerror', None) or 'the disk refused it'}",
                where=str(self.folder),
                kept=", ".join(self.names()) or "no checkpoint",
                next="make room and run the same command again: it goes on from there",
            ) from None
        return final

    def newest(self) -> State | None:
        """The last whole one, None if there is none; torn ones are named and skipped.

        Raises IntegrityError if a file of it is missing or not the one that was written.
        """
        for torn in self._torn():
            log.warning("%s was never finished: skipped", torn.name)
        whole = self._whole()
        return _read(whole[-1]) if whole else None

    def names(self) -> list[str]:
        """The whole ones, oldest first."""
        return [path.name for path in self._whole()]

    def remove(self) -> None:
        """Remove them all: what trained a model is no part of it. Only the first of several processes does."""
        if rank():
            return
        shutil.rmtree(self.folder, ignore_errors=True)

    def _whole(self) -> list[Path]:
        return sorted(path.parent for path in self.folder.glob(f"step-*/{COMPLETE}"))

    def _torn(self) -> list[Path]:
        return sorted({*self.folder.glob("step-*"), *self.folder.glob(".step-*")} - {*self._whole()})

    def _fill(self, folder: Path, state: State) -> None:
        for name in TENSORS:
            save_file({key: tensor.contiguous() for key, tensor in getattr(state, name).items()}, _file(folder, name))
        told = {"device": state.device, "precision": state.precision, **asdict(state.progress)}
        write_json(folder / PROGRESS, {"format_version": 1, **told})
        paths = sorted(folder.iterdir())
        for path in paths:
            _flush(path)
        write_json(folder / COMPLETE, {"format_version": 1, "sha256": {path.name: sha256_of(path) for path in paths}})
        _flush(folder)


def random_state() -> Tensors:
    """The state of torch's generators, one of each device."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), **{f"cuda:{number}": state for number, state in enumerate(cuda)}}


def set_random_state(states: Tensors) -> None:
    """Put the generators back where they were."""
    for device, state in states.items():
        if device == "cpu":
            torch.set_rng_state(state)
        elif int(device.partition(":")[2]) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, device)


def _read(folder: Path) -> State:
    wanted = {f"{name}.safetensors" for name in TENSORS} | {PROGRESS}
    try:
        recorded = json.loads((folder / COMPLETE).read_bytes())["sha256"]
        broken = [
            name
            for name in sorted(wanted | recorded.keys())
            if name not in recorded or not (folder / name).is_file() or sha256_of(folder / name) != recorded[name]
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        broken = [COMPLETE]
    if broken:
        raise IntegrityError(
            f"{', '.join(broken)} of a checkpoint is missing or not as it was written",
            where=str(folder),
            kept="everything",
            next="remove this checkpoint to go on from the one before it, or start again in a new --out",
        )
    told = json.loads((folder / PROGRESS).read_bytes())
    device, precision = told.pop("device"), told.pop("precision")
    del told["format_version"]
    return State(Progress(**told), device, precision, **{name: load_file(_file(folder, name)) for name in TENSORS})


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def _flush(path: Path) -> None:
    """Make sure that a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
