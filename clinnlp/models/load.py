"""Base models with a head, and trained model folders, from disk into memory; never any code from them."""

import importlib
import json
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clinnlp import config
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.errors import ClinnlpError, ConfigError, IntegrityError, UnsafeError
from clinnlp.models.folder import CARD, Card, base_folder, check_base, check_folder, weights_sha256
from clinnlp.models.heads import check_encoder, is_head, load_parts, put_parts, with_fresh_head
from clinnlp.plugins import find
from clinnlp.tasks.base import PARTS, Task

if TYPE_CHECKING:
    import torch

log = logging.getLogger("clinnlp")


@dataclass(frozen=True)
class Base:
    """A base model to be adapted: where it is, and which weights it has."""

    name: str
    revision: str | None = None
    download: bool = False

    @property
    def source(self) -> str:
        """A checked local folder or hub name."""
        return check_base(self.name, self.revision, self.download)

    def sha256(self) -> str:
        """The hash of the local weights; a hub base is pinned by its revision instead."""
        folder = base_folder(self.name)
        return weights_sha256(folder) if folder else f"revision:{self.revision}"

    def tokenizer(self) -> NoteTokenizer:
        """The tokenizer of the base."""
        return NoteTokenizer.load(self.source, offline=not self.download, revision=self.revision)

    def model(self, model_class: str, head: dict[str, Any] | None = None) -> "tuple[torch.nn.Module, list[str]]":
        """The model with the head of a transformers class, and the names of the weights made fresh.

        Of a base that was fine-tuned before, for other labels or another task, the encoder is taken (adapters merged
        into it) and the head is fresh. Raises IntegrityError if weights of the encoder itself are missing.
        """
        folder = base_folder(self.name)
        if folder is not None and (folder / CARD).is_file():
            trained = load_trained(folder).model.requires_grad_(True)  # peft froze what it merged an adapter into
            kept = is_head(trained, model_class, trained.config, head)
            return (
                (trained, put_parts(trained, head)) if kept else with_fresh_head(trained, model_class, head, self.name)
            )
        model, info = self.loaded(model_class, head)
        missing = sorted({*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])})
        check_encoder(model, missing, self.name)
        if not missing and head and not is_head(model, model_class, self._config({}), head):
            return with_fresh_head(model, model_class, head, self.name)
        return model, missing

    def loaded(self, model_class: str, head: dict[str, Any] | None = None) -> "tuple[Any, Mapping[str, Iterable[Any]]]":
        """The model, and the `missing_keys`, `unexpected_keys` and `mismatched_keys` (name, shape, shape) of its files.

        Raises IntegrityError for bad files.
        """
        import transformers

        _check_kind(self.name)
        plain = {name: value for name, value in (head or {}).items() if name != PARTS}
        with _quiet():
            try:
                model, info = getattr(transformers, model_class).from_pretrained(
                    self.source,
                    revision=self.revision,
                    local_files_only=not self.download,
                    use_safetensors=True,
                    trust_remote_code=False,
                    dtype="float32",  # a half-precision checkpoint would be trained, slowly, in half precision
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # a head for other labels; what else does not fit is refused
                    **plain,
                )
            except ClinnlpError:
                raise
            except Exception as error:
                # the message of another library may quote anything: only its kind is passed on
                raise IntegrityError(
                    f"cannot load the base model as {model_class} ({type(error).__name__})",
                    where=self.name,
                    next="check that its files are whole and of a kind that transformers knows",
                ) from None
        parts = put_parts(model, head)
        if parts and info["unexpected_keys"]:
            lacking = load_parts(model, parts, base_folder(self.source) or Path(self.source))
            info["unexpected_keys"] = set(info["unexpected_keys"]) - set(parts)
            parts = lacking
        info["missing_keys"] = {*info["missing_keys"], *parts}
        _check_finite(model, self.name)
        return model, info

    def random(self, model_class: str, head: dict[str, Any]) -> "torch.nn.Module":
        """A model of this base's architecture with random weights: the from-scratch baseline."""
        import transformers

        model: torch.nn.Module = getattr(transformers, model_class).from_config(self._config(head))
        put_parts(model, head)
        return model

    def _config(self, head: Mapping[str, Any]) -> Any:
        import transformers

        return transformers.AutoConfig.from_pretrained(
            self.source, revision=self.revision, local_files_only=not self.download, trust_remote_code=False, **head
        )

    def fits(self, tokenizer: NoteTokenizer, model: "torch.nn.Module") -> None:
        """Raises IntegrityError if the tokenizer knows ids that the model has no row for."""
        inner: Any = model
        rows = inner.get_input_embeddings().weight.shape[0]
        if tokenizer.vocab_size > rows:
            raise IntegrityError(
                f"the tokenizer has {tokenizer.vocab_size} entries, the model {rows} embedding rows", where=self.name
            )


Runner = Callable[[Sequence[NDArray[np.int32]], int], list[NDArray[np.float32]]]
"""Rows of ids and a budget of tokens a forward pass become the logits of each row: (S, C) or (L,)."""


@dataclass
class Trained:
    """A trained model in memory: everything that turns texts into documents."""

    model: "torch.nn.Module"
    tokenizer: NoteTokenizer
    task: Task
    schema: LabelSchema
    card: Card
    runner: Runner | None = None
    """How rows are run, where an engine other than plain torch was chosen."""


class NoWeights:
    """Stands where the torch model would be in what `clinnlp export` made: any use of it says so."""

    def __init__(self, folder: Path, engine: str) -> None:
        self.__dict__["refusal"] = no_weights(folder, engine)

    def __getattr__(self, name: str) -> Any:
        raise self.__dict__["refusal"]


def no_weights(folder: Path, engine: str) -> ConfigError:
    """The error of a folder that was exported for one engine, where another is to run it."""
    return ConfigError(
        f"the folder holds a graph of the {engine} engine and no torch weights",
        where=str(folder),
        next=f"use --engine {engine} with the options it was exported with, or the folder it was exported from",
    )


def longest_row(model: "torch.nn.Module", wanted: int) -> int:
    """The longest row the base model can read, at most `wanted` tokens with specials."""
    settings: Any = model.config
    limit = int(getattr(settings, "max_position_embeddings", wanted) or wanted)
    if getattr(settings, "model_type", "") in ("roberta", "camembert", "xlm-roberta", "longformer"):
        limit -= int(settings.pad_token_id) + 1  # their positions start behind the padding index
    return min(wanted, limit)


def load_trained(folder: Path, base: str | None = None) -> Trained:
    """A model folder made by `finetune`, ready to predict, or by `export`; an adapter is merged into its base.

    `base` overrides where an adapter's base model lies. Raises ChangedError for another base, ConfigError for
    a folder without label map, IntegrityError for missing weights.
    """
    if not folder.is_dir():
        raise ConfigError("no such model folder", where=str(folder), next="check --model")
    card = Card.read(folder)
    check_folder(folder)
    if (folder / "config.json").is_file():
        card.check_head(folder)
    tokenizer = NoteTokenizer.load(str(folder), offline=True)
    if card.engine:
        return _exported(folder, card, tokenizer)
    adapter = (folder / "adapter_config.json").is_file()
    if adapter:
        card = card.with_base(base, folder)
    origin = Base(card.base if adapter else str(folder), card.revision if adapter else None)
    head = card.task.head_config(card.schema)
    if adapter:
        model, fresh = origin.model(card.task.model_class, head)
        model = _with_adapter(model, folder, fresh)
    else:
        model, info = origin.loaded(card.task.model_class, head)
        shapes = [name for name, *_ in info["mismatched_keys"]]
        found = {"missing": info["missing_keys"], "there and not known": info["unexpected_keys"], "misshapen": shapes}
        for told, names in found.items():
            if odd := sorted(names):
                raise IntegrityError(f"{len(odd)} weights are {told}, {odd[0]} first", where=str(folder))
    origin.fits(tokenizer, model)
    model.eval()
    return Trained(model, tokenizer, card.task, card.schema, card)


def _exported(folder: Path, card: Card, tokenizer: NoteTokenizer) -> Trained:
    """What `export` made, run by its engine."""
    options = dict(card.engine or {})
    name = str(options.pop("name", ""))
    engine = config.build(find("engines", name), options, "engine")
    stand_in: Any = NoWeights(folder, name)
    return Trained(stand_in, tokenizer, card.task, card.schema, card, engine.open(folder))


def _check_kind(name: str) -> None:
    """Raises UnsafeError for a model of a kind that transformers has no code for."""
    from transformers import CONFIG_MAPPING

    path = (base_folder(name) or Path(name)) / "config.json"
    kind = json.loads(path.read_bytes()).get("model_type") if path.is_file() else None
    if isinstance(kind, str) and kind not in CONFIG_MAPPING:
        raise UnsafeError(
            "config.json has a model_type that this transformers does not know: it would need code from elsewhere",
            where=name,
        )


def _with_adapter(model: "torch.nn.Module", folder: Path, fresh: list[str]) -> "torch.nn.Module":
    from peft import PeftModel

    with _quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what peft warns of is refused below
        try:
            wrapped: Any = PeftModel.from_pretrained(model, str(folder), local_files_only=True)
        except Exception as error:  # it has no common class, and its message may quote anything
            raise IntegrityError(
                f"cannot load the adapter ({type(error).__name__})",
                where=str(folder),
                next="copy the model folder again",
            ) from None
    saved = set(wrapped.peft_config["default"].modules_to_save or [])
    if lost := [name for name in fresh if not any(f".{module}." in f".{name}" for module in saved)]:
        raise IntegrityError(f"the head is not in the adapter: {lost[0]} is missing", where=str(folder))
    _check_adapter(wrapped, folder)
    merged: torch.nn.Module = wrapped.merge_and_unload()
    _check_finite(merged, str(folder))
    return merged


def _check_adapter(wrapped: Any, folder: Path) -> None:
    """Raises IntegrityError if the file lacks a weight of the adapter, which would be random, or has one too many."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        held = set(file.keys())
    wanted = set(get_peft_model_state_dict(wrapped, save_embedding_layers=False))
    for odd, told in ((wanted - held, "missing from the adapter"), (held - wanted, "in the adapter and not known")):
        if odd:
            raise IntegrityError(
                f"{len(odd)} weights are {told}, {min(odd)} first",
                where=str(folder),
                next="copy the model folder again",
            )


def _check_finite(model: "torch.nn.Module", where: str) -> None:
    """Raises IntegrityError for a model with NaN or infinity among its weights."""
    if bad := [name for name, weight in model.named_parameters() if not weight.isfinite().all()]:
        raise IntegrityError(
            f"{len(bad)} weights hold NaN or infinity, {bad[0]} first", where=where, next="train it again"
        )


class _quiet:
    """Silence transformers' own report of fresh weights: we make our own."""

    def __enter__(self) -> None:
        library: Any = importlib.import_module("transformers.utils.logging")
        self.level = library.get_verbosity()
        library.set_verbosity_error()
        library.disable_progress_bar()

    def __exit__(self, *error: object) -> None:
        library: Any = importlib.import_module("transformers.utils.logging")
        library.set_verbosity(self.level)
