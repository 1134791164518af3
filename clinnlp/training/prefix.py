"""The frozen lower part of a model, computed once for each example and left out of training."""

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clinnlp.encode.packing import pad_rows
from clinnlp.errors import ConfigError
from clinnlp.models.device import choose_device
from clinnlp.strategies.base import LAYER
from clinnlp.tasks.base import Example
from clinnlp.training.loader import Draw
from clinnlp.training.supervised import ExampleSource

log = logging.getLogger("clinnlp")
WHERE, ANEW = "strategy.cache", "use --strategy.cache false: the lower layers are then computed in every step"


class CachedSource:
    """A source whose batches hold what the frozen layers gave, `inputs_embeds (W, S, H)`, in place of ids."""

    def __init__(self, source: ExampleSource, activations: Mapping[int, list[NDArray[np.float16]]]) -> None:
        self.source, self.activations, self.lengths = source, activations, source.lengths

    def example(self, draw: Draw) -> Example:
        """As of the source."""
        return self.source.example(draw)

    def collate(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """The task's batch, its rows given as activations."""
        batch = self.source.collate(examples)
        rows = [row for example in examples for row in self.activations[id(example)]]
        given = torch.zeros(*batch.pop("input_ids").shape, rows[0].shape[1])
        for place, row in enumerate(rows):
            given[place, : len(row)] = torch.from_numpy(row)
        return {"inputs_embeds": given, **batch}

    def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor], items: Any) -> torch.Tensor:
        """The task's loss."""
        return self.source.loss(model, batch, items)


class Given(torch.nn.Module):
    """Stands where the embeddings were: what is given goes straight into the layers."""

    def forward(
        self,
        input_ids: None = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        past_key_values_length: int = 0,
        mask: Any = None,
    ) -> torch.Tensor | None:
        """All that embeddings of encoders are called with; one that asks for more is found out beforehand."""
        return inputs_embeds


def cached(
    model: Any, levels: Mapping[str, int], source: ExampleSource, batch: int, device: str
) -> tuple[Any, ExampleSource | CachedSource]:
    """The part of `model` over its frozen layers, sharing its weights by their names, and a source that feeds it.

    Dropout is off in the frozen part, whose activations are kept in half precision. Nothing changes where the lowest
    layer moves. Raises ConfigError if they take more than half of the memory, or the parts do not add up to the whole.
    """
    frozen = min(levels[name] for name, weight in model.named_parameters() if weight.requires_grad) - 1
    if frozen < 1:
        log.info("no layer is frozen, so that nothing can be computed once for all steps")
        return model, source
    model.to(choose_device(device)).eval()
    rows = [row.ids for example in source.examples for row in example.rows]
    size = 2 * sum(map(len, rows)) * model.config.hidden_size
    if size > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2:
        raise ConfigError(f"the activations of all rows take {size / 2**30:.0f} GB", where=WHERE, next=ANEW)
    lower, upper = _cut(model, levels, 0, frozen), _cut(model, levels, frozen, max(levels.values()) - 1)
    _check(model, lower, upper, rows[:2])
    log.info("the lowest %d layers are computed once: %d rows, %.0f MB", frozen, len(rows), size / 2**20)
    made: list[NDArray[np.float16]] = [np.zeros((0, 0), np.float16)] * len(rows)
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place]))
    for first in range(0, len(order), batch):
        places = order[first : first + batch]
        found = _run(lower, [rows[place] for place in places]).half().cpu().numpy()
        for place, activations in zip(places, found, strict=True):
            made[place] = activations[: len(rows[place])].copy()
    rest = iter(made)
    return upper, CachedSource(source, {id(one): [next(rest) for _ in one.rows] for one in source.examples})


def _cut(model: Any, levels: Mapping[str, int], first: int, last: int) -> Any:
    """A view of the model with the layers from `first` to before `last` alone; its weights keep their names."""
    path = next(name[: found.start(1) - 1] for name in levels if levels[name] == 1 and (found := LAYER.search(name)))
    layers = torch.nn.ModuleList()
    layers._modules = {str(number): model.get_submodule(f"{path}.{number}") for number in range(first, last)}
    changed: dict[str, torch.nn.Module] = {path: layers}
    if first:
        inner = model.get_base_model() if hasattr(model, "peft_config") else model
        root = next(name for name, module in model.named_modules() if module is inner.base_model)
        changed[f"{root}.embeddings"] = Given()
        if hasattr(inner.base_model, "embeddings_project"):
            changed[f"{root}.embeddings_project"] = torch.nn.Identity()
    views = {"": _twin(model)}
    for where, module in changed.items():
        *parents, name = where.split(".")
        path = ""
        for parent in parents:
            above, path = views[path], f"{path}.{parent}"
            if path not in views:
                views[path] = above._modules[parent] = _twin(above._modules[parent])
        views[path]._modules[name] = module
    return views[""]


def _twin(module: Any) -> Any:
    """A module with the same weights and children, in which children can be exchanged."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin


def _run(lower: Any, rows: Sequence[NDArray[np.int32]]) -> torch.Tensor:
    """What the last layer of the lower part gives for rows of ids: (W, S, H)."""
    kept: list[torch.Tensor] = []
    lists = [module for module in lower.modules() if isinstance(module, torch.nn.ModuleList)]
    hook = lists[0][-1].register_forward_hook(
        lambda layer, given, found: kept.append(found[0] if isinstance(found, tuple) else found)
    )
    with torch.no_grad():
        lower(**_batch(rows, lower))
    hook.remove()
    return kept[0]


def _batch(rows: Sequence[NDArray[np.int32]], model: torch.nn.Module) -> dict[str, torch.Tensor]:
    device = next(model.parameters()).device
    return {
        "input_ids": torch.from_numpy(pad_rows(rows, 0)).to(device),
        "attention_mask": torch.from_numpy(pad_rows([np.ones(len(row)) for row in rows], 0)).to(device),
    }


def _check(model: Any, lower: Any, upper: Any, rows: Sequence[NDArray[np.int32]]) -> None:
    """Raises ConfigError unless the parts one after the other answer as the whole does."""
    batch = _batch(rows, model)
    with torch.no_grad():
        wanted = model(**batch).logits
        try:
            found = upper(inputs_embeds=_run(lower, rows), attention_mask=batch["attention_mask"]).logits
            same = torch.allclose(found, wanted, atol=1e-4, rtol=1e-4)
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, UnboundLocalError):
            same = False
    if not same:
        raise ConfigError("the layers of this base cannot be computed part by part", where=WHERE, next=ANEW)
