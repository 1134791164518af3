"""Heads on encoders: is it the one that is wanted, and a fresh one where it is not."""

import copy
import logging
from typing import Any

from clinnlp.errors import IntegrityError

log = logging.getLogger("clinnlp")


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
    check_encoder(new, fresh, where)
    log.info("the base was fine-tuned before: its encoder is taken, the head is fresh")
    return new, fresh


def check_encoder(model: Any, missing: list[str], where: str) -> None:
    """Raises IntegrityError if there is an encoder weight among those that were not in the files, or did not fit."""
    prefix = f"{model.base_model_prefix}."
    if encoder := [name for name in missing if name.startswith(prefix) and ".pooler." not in name]:
        raise IntegrityError(f"{len(encoder)} encoder weights are missing, {encoder[0]} first", where=where)
