"""The model folder: a plain Hugging Face folder plus `clinnlp.json`, checked before anything is opened."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from clinnlp import config
from clinnlp.core.run import sha256_files
from clinnlp.core.schema import LabelSchema
from clinnlp.errors import ChangedError, ConfigError, IntegrityError, UnsafeError
from clinnlp.evaluation.rendering import code
from clinnlp.plugins import find
from clinnlp.tasks.base import Task
from clinnlp.version import VERSION

CARD = "clinnlp.json"
MINI = "clinnlp-mini"
UNSAFE = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt", ".msgpack", ".h5", ".dill", ".npy")

GRAPHS = (".onnx", ".xml", ".data")
FETCHED = ("attn_implementation", "experts_implementation")  # with a / in it: the name of code on the hub


@dataclass(frozen=True, slots=True)
class Card:
    """What `clinnlp.json` says: the task, its labels in order, and the base model that was adapted.

    A folder that `clinnlp export` made names its `engine` with its options, and the sha256 of each file it loads. One
    that was trained with differential privacy has its guarantee in `privacy`.
    """

    task: Task
    schema: LabelSchema
    base: str
    base_sha256: str
    revision: str | None = None
    engine: Mapping[str, Any] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    privacy: Mapping[str, Any] | None = None

    def write(self, folder: Path) -> None:
        """Store the card in a model folder."""
        values = {
            "format_version": 1,
            "clinnlp": VERSION,
            "task": {"name": type(self.task).__module__.rsplit(".", 1)[-1], **config.plain(self.task)},
            "labels": list(self.schema.labels),
            "base": self.base,
            "base_sha256": self.base_sha256,
            "revision": self.revision,
        }
        if self.engine:
            values |= {"engine": dict(self.engine), "files": dict(self.files)}
        if self.privacy:
            values["privacy"] = dict(self.privacy)
        (folder / CARD).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(self.readme(), encoding="utf-8")

    def readme(self) -> str:
        """A short model card with Hub metadata; what is not known says `not provided`."""
        name = type(self.task).__name__
        pipeline = [f"pipeline_tag: {self.task.pipeline}"] if self.task.pipeline else []
        return "\n".join([
            "---", "library_name: transformers", *pipeline, "tags: [clinnlp, clinical]", "---", "",
            f"# {name}, made by clinnlp {VERSION}", "",
            f"- Labels: {', '.join(map(code, self.schema.labels))}",
            f"- Base model: {code(Path(self.base).name)}, weights sha256 {code(self.base_sha256)}",
            f"- Windows: {self.task.window} tokens, {self.task.overlap} shared",
            f"- Differential privacy: {self._guarantee()}",
            "- Training data, licence, intended use: not provided",
            "- Scores: see `metrics.json` and `report.html` of the run", "",
            f"`clinnlp.load(FOLDER)` reads whole notes; {self._loads_as_it_is()} the folder as it is.", "",
        ])  # fmt: skip

    def _guarantee(self) -> str:
        """The privacy of the patients whose notes a model was trained on, and its limits, in a sentence or two."""
        if not self.privacy:
            return "none"
        told = self.privacy
        named = ("noise multiplier", "clipping norm", "sampling rate", "private steps")
        return (
            f"epsilon {told['epsilon']:g} at delta {told['delta']:g} for each {told['protects each']} of the training "
            f"notes ({told['protected']:,}), by the {told['accountant']} ("
            f"{', '.join(f'{name} {told[name]:g}' for name in named)}). It covers these weights alone: not the list of "
            f"labels, nor what the base model was trained on. Dev notes chose {told['dev notes chose']}."
        )

    def _loads_as_it_is(self) -> str:
        return f"the library of the {self.engine['name']} engine loads" if self.engine else "transformers and peft load"

    @classmethod
    def read(cls, folder: Path) -> "Card":
        """The card of a model folder. Raises ConfigError if there is none, IntegrityError if it is broken."""
        path = folder / CARD
        if not path.is_file():
            raise ConfigError(
                f"no {CARD}: this folder holds no label map, so its outputs have no meaning",
                where=str(folder),
                next="give the model/ folder of a `clinnlp finetune` run",
            )
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            task = dict(values["task"])
            return cls(
                task=config.build(find("tasks", task.pop("name")), task, "task"),
                schema=LabelSchema(tuple(values["labels"])),
                base=values["base"],
                base_sha256=values["base_sha256"],
                revision=values.get("revision"),
                engine=values.get("engine"),
                files=dict(values.get("files", {})),
                privacy=values.get("privacy"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"not a valid card ({type(error).__name__})", where=str(path)) from None

    def check_head(self, folder: Path) -> None:
        """Raises IntegrityError if config.json names the outputs of the head otherwise, or in another order."""
        names = _json(folder / "config.json").get("id2label")
        ours = {str(i): name for i, name in enumerate(self.task.outputs(self.schema))}
        if isinstance(names, dict) and names != ours:
            here, there = (", ".join(f"{value}"[:40] for value in held.values())[:200] for held in (ours, names))
            raise IntegrityError(
                f"the labels of {CARD} are not those of the model's head: {here}; but {there}",
                where=str(folder),
                next="copy the model folder of the run again",
            )

    def with_base(self, base: str | None, model: Path) -> "Card":
        """The card with another place of the same base model. Raises ChangedError if its weights differ.

        A relative path that leads nowhere from the working folder is looked for above the `model` folder.
        """
        if base is None and base_folder(self.base) is None:
            above = (str(folder / self.base) for folder in model.absolute().parents)
            base = next((path for path in above if Path(path).is_dir()), None)
        card = replace(self, base=base) if base else self
        folder = base_folder(card.base)
        if folder is not None and (found := weights_sha256(folder)) != self.base_sha256:
            raise ChangedError(
                f"the adapter expects base weights sha256 {self.base_sha256[:12]}, this base has {found[:12]}",
                where=str(folder),
                next="give --base with the folder it was trained on",
            )
        return card


def base_folder(base: str) -> Path | None:
    """The local folder a base model's name means, or None for a hub name."""
    if base == MINI:
        return Path(str(resources.files("clinnlp.models"))) / MINI
    path = Path(base)
    return path if path.is_dir() else None


def check_base(base: str, revision: str | None, download: bool) -> str:
    """The name to load a base model by: a checked local folder, or a hub name where a download is allowed.

    Raises ConfigError for a folder that is not there and for a hub name without permission or revision.
    """
    folder = base_folder(base)
    if folder is not None:
        check_folder(folder)
        return str(folder)
    if base.startswith((".", "/", "~")) or base.count("/") != 1:
        raise ConfigError("no such model folder", where=base, next="check the path given as base")
    if not download:
        raise ConfigError(
            f"base {base!r} is a hub name and clinnlp works offline",
            next="give --base DIR with a local copy, or --download true",
        )
    if revision is None or len(revision) != 40:
        raise UnsafeError(f"base {base!r} has no revision of 40 hex digits", next="give --revision SHA")
    return base


def check_folder(folder: Path) -> None:
    """Refuse a model folder that cannot be opened safely. Raises ConfigError, UnsafeError."""
    if not (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
        raise ConfigError("no config.json: not a model folder", where=str(folder), next="check the path")
    if not weight_files(folder) and not exported_files(folder):
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in UNSAFE)
        if pickled:
            raise UnsafeError(
                f"{pickled[0]} can run code when opened, and there are no safetensors weights",
                where=str(folder),
                next="convert it to safetensors on a machine that holds no patient data",
            )
        raise IntegrityError("no model weights (*.safetensors)", where=str(folder))
    for name in ("config.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            _check_settings(folder, name)
    for path in folder.glob("*.index.json"):
        names = set((_json(path).get("weight_map") or {}).values())
        if odd := [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]:
            raise UnsafeError(f"{path.name} names {len(odd)} files that are no weights here", where=str(folder))


def _check_settings(folder: Path, name: str) -> None:
    """Raises UnsafeError for a file that asks for code, or a model, from elsewhere, at any depth of it."""
    left: list[Any] = [_json(folder / name)]
    while left:
        values = left.pop()
        left += values.values() if isinstance(values, dict) else values if isinstance(values, list) else ()
        for key, value in values.items() if isinstance(values, dict) else ():
            if key == "auto_map" or (key == "trust_remote_code" and value):
                raise UnsafeError(f"{name} asks to run code from the model folder ({key})", where=str(folder))
            plain = key.removeprefix("_")
            if (plain in FETCHED and "/" in str(value)) or (plain == "name_or_path" and "://" in str(value)):
                raise UnsafeError(f"{name} asks for code from elsewhere ({key})", where=str(folder))


def exported_files(folder: Path) -> dict[str, str]:
    """The sha256 of each file of a folder that `clinnlp export` made; nothing for another folder.

    Raises IntegrityError for a file that is missing or not the one that was exported, UnsafeError for a path that leads
    elsewhere or a file of weights that was not exported.
    """
    card = _json(folder / CARD) if (folder / CARD).is_file() else {}
    if not card.get("engine"):
        return {}
    files: dict[str, str] = dict(card.get("files") or {})
    for name, sha256 in files.items():
        path = folder / name
        if Path(name).name != name or path.is_symlink():
            raise UnsafeError(f"{CARD} names a file that is not in this folder", where=str(folder))
        if not path.is_file() or sha256_of(path) != sha256:
            raise IntegrityError(
                f"{name} is missing, or not the file that was exported",
                where=str(folder),
                next="export the model again",
            )
    held = {path.name for path in folder.iterdir() if path.suffix in (*UNSAFE, *GRAPHS)}
    if foreign := sorted(held - files.keys()):
        raise UnsafeError(f"{foreign[0]} is not one of the files that were exported", where=str(folder))
    return files


def sha256_of(path: Path) -> str:
    """The hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, in name order."""
    return sorted(folder.glob("*.safetensors"))


def weights_sha256(folder: Path) -> str:
    """One hash over all weight files of a folder."""
    return sha256_files(weight_files(folder))


def base_pins(name: str, sha256: str) -> dict[str, str]:
    """What a run with a base is made of: the hash of its weights, and of a local one's config and tokenizer."""
    folder = base_folder(name)
    if folder is None:
        return {"base": sha256}
    patterns = ("config.json", "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json")
    read = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    return {"base": sha256, "base config and tokenizer": sha256_files(read)}


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise IntegrityError("not valid JSON", where=str(path)) from None
    return values if isinstance(values, dict) else {}
