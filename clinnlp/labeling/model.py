"""What labels: a model folder, as its fingerprint to those who plan and as a function to those who label."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from clinnlp.core.document import Document
from clinnlp.engines.base import Engine, engine_for, engine_name, engine_of, need, plain_engine
from clinnlp.errors import ConfigError, LogitsError
from clinnlp.models.folder import Card, base_folder, check_folder
from clinnlp.models.load import no_weights
from clinnlp.version import VERSION

if TYPE_CHECKING:
    from clinnlp.models.load import Runner, Trained

Predict = Callable[[Sequence[Document], int], list[Document]]
"""Documents, and the most tokens of a forward pass, to documents with labels, in the same order."""

LIBRARIES = ("torch", "transformers", "tokenizers", "peft")
MACHINE = ("version.", "device", "engine")  # the parts of a fingerprint that --allow_version_change lets differ


class Model(Protocol):
    """What labels documents; it is pickled to each worker, which loads it."""

    def fingerprint(self) -> dict[str, str]:
        """All of the model that changes what it says, by name; loads nothing heavy."""

    def load(self) -> Predict:
        """The model, ready to be called."""


@dataclass(frozen=True)
class ModelFolder:
    """A model folder made by `finetune` or `export`, where its base lies, if it moved, and what runs it."""

    folder: Path
    base: str | None = None
    engine: Engine | None = None
    name: str = ""
    """What it is called, where several models label together."""

    def part(self, name: str) -> str:
        """What a part of the fingerprint is called: with the name of the model, if it has one."""
        return f"{name}.{self.name}" if self.name else name

    @property
    def marks_spans(self) -> bool:
        """Whether it answers with attributes of spans."""
        return Card.read(self.folder).task.marks_spans

    @property
    def reads_spans(self) -> bool:
        """Whether what it says hangs on the spans that notes come with."""
        return Card.read(self.folder).task.reads_spans

    def runs_on(self) -> Engine:
        """The engine that was asked for, or torch, on a device of this machine, or what the folder was exported for.

        Raises ConfigError for a folder that is none, and for another engine than it was exported for.
        """
        if not self.folder.is_dir():
            raise ConfigError("no such model folder", where=str(self.folder), next="check --model")
        card = Card.read(self.folder)
        engine = engine_for(card, self.engine)
        if card.engine and engine != (exported := engine_of(card.engine)):
            raise no_weights(self.folder, engine_name(exported))
        return engine

    def fingerprint(self) -> dict[str, str]:
        """The hash of every file of the model and of its base, its engine, versions and device.

        Raises ConfigError, UnsafeError or ChangedError for a folder that cannot be loaded.
        """
        engine, card = self.runs_on(), Card.read(self.folder)
        need(engine_name(engine), engine.library)
        check_folder(self.folder)
        parts = _hashes(self.part("model"), self.folder)
        if (self.folder / "adapter_config.json").is_file():
            base = base_folder(card.with_base(self.base, self.folder).base)
            parts |= _hashes(self.part("base"), base) if base else {self.part("base"): f"{card.base}@{card.revision}"}
        parts |= {self.part("engine"): json.dumps(plain_engine(engine))}
        return parts | versions(engine.library) | {self.part("device"): getattr(engine, "device", "cpu")}

    def load(self) -> Predict:
        """The model on this machine; logits that are no numbers raise LogitsError."""
        from clinnlp.engines.base import plain_runner, run_by
        from clinnlp.labeling.predict import predict_chunk
        from clinnlp.models.load import load_trained

        trained = run_by(load_trained(self.folder, self.base), self.runs_on())
        trained.runner = finite(trained.runner or plain_runner(trained))
        return lambda documents, batch_tokens: predict_chunk(trained, documents, batch_tokens)


@dataclass(frozen=True)
class Loaded:
    """A model that is in memory; for this process only."""

    trained: "Trained"

    def fingerprint(self) -> dict[str, str]:
        """What is known of it."""
        return versions()

    def load(self) -> Predict:
        """The model."""
        from clinnlp.labeling.predict import predict_chunk

        return lambda documents, batch_tokens: predict_chunk(self.trained, documents, batch_tokens)


def finite(run: "Runner") -> "Runner":
    """The runner, with its answers looked at. Raises LogitsError: the label of NaN would be the first there is."""
    import numpy as np

    def checked(rows: Any, budget: int) -> Any:
        answers = run(rows, budget)
        if not all(np.isfinite(answer).all() for answer in answers):
            raise LogitsError("the model answered with NaN or infinity")
        return answers

    return checked


def versions(*libraries: str) -> dict[str, str]:
    """The versions of what computes labels; `libraries` are those of an engine."""
    found = {f"version.{name}": _version(name) for name in (*LIBRARIES, *libraries)}
    return {"version.clinnlp": VERSION, **found}


def _version(module: str) -> str:
    """The version of the package that a module is installed from, which may have another name (onnxruntime-gpu)."""
    try:
        return metadata.version(module)
    except metadata.PackageNotFoundError:
        return metadata.version(metadata.packages_distributions()[module][0])


def _hashes(name: str, folder: Path) -> dict[str, str]:
    """The hash of each file of a folder that is, or may be, loaded: all but hidden files and the model card."""
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and inside.name != "README.md" and not any(part.startswith(".") for part in inside.parts):
            with path.open("rb") as file:
                found[f"{name}/{inside.as_posix()}"] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
