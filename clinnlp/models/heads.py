"""Heads on encoders: is it the one that is wanted, a fresh one where it is not, and parts that transformers has not."""

import copy
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clinnlp.errors import IntegrityError
from clinnlp.tasks.base import PARTS

log = logging.getLogger("clinnlp")


def put_parts(model: Any, head: Mapping[str, Any] | None) -> list[str]:
    """Give a model the tables that `head_config` asks for, at zero, and no others; returns the names of fresh weights.

    One that is there in the right shape stays. They are modules of the model, so that they are trained, averaged and
    saved with its head, and its config.json says that they are there; plain transformers passes over them.
    """
    import torch

    wanted: dict[str, list[int]] = dict((head or {}).get(PARTS) or {})
    held = [name for name, _ in model.named_children() if name.startswith("clinnlp_")]
    for name in held:
        if name not in wanted or list(getattr(model, name).weight.shape) != list(wanted[name]):
            delattr(model, name)
    if hasattr(model.config, PARTS):
        delattr(model.config, PARTS)
    if wanted:
        setattr(model.config, PARTS, wanted)
    fresh = [name for name in wanted if not hasattr(model, name)]
    for name in fresh:
        rows, columns = wanted[name]
        model.add_module(name, torch.nn.Embedding(rows, columns, _weight=torch.zeros(rows, columns)))
    return [f"{name}.weight" for name in fresh]


def load_parts(model: Any, names: list[str], folder: Path) -> list[str]:
    """Fill these weights of parts from the files of a model folder; returns those that the files do not hold."""
    import torch
    from safetensors import safe_open

    left = set(names)
    for path in sorted(folder.glob("*.safetensors")) if names else ():
        with safe_open(path, "pt") as file:
            for name in left & set(file.keys()):
                weight, found = model.get_parameter(name), file.get_tensor(name)
                if found.shape == weight.shape:
                    with torch.no_grad():
                        weight.copy_(found)
                    left.discard(name)
    return sorted(left)


def is_head(model: Any, model_class: str, config: Any, head: dict[str, Any] | None) -> bool:
    """Whether the head that a model came with is of a class and, by its config, for just these labels in this order."""
    same = type(model).__name__.endswith(model_class.removeprefix("AutoModel"))
    return same and (head is None or dict(config.id2label) == head["id2label"])


def with_fresh_head(model: Any, model_class: str, head: dict[str, Any] | None, where: str) -> tuple[Any, list[str]]:
    """The encoder of a model under a new head, and the names of the fresh weights."""
    import transformers

    config = copy.deepcopy(model.config)
    config.update(head or {})
    new = getattr(transformers, model_class).from_config(config)
    lacks = new.base_model.load_state_dict(model.base_model.state_dict(), strict=False).missing_keys
    encoder = f"{new.base_model_prefix}."
    fresh = [name for name, _ in new.named_parameters() if not name.startswith(encoder)]
    fresh += [encoder + name for name in lacks]
    fresh += put_parts(new, head)
    check_encoder(new, fresh, where)
    log.info("the base was fine-tuned before: its encoder is taken, the head is fresh")
    return new, fresh


def check_encoder(model: Any, missing: list[str], where: str) -> None:
    """Raises IntegrityError if there is an encoder weight among those that were not in the files, or did not fit."""
    prefix = f"{model.base_model_prefix}."
    if encoder := [name for name in missing if name.startswith(prefix) and ".pooler." not in name]:
        raise IntegrityError(f"{len(encoder)} encoder weights are missing, {encoder[0]} first", where=where)
