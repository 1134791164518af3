"""Target notes beside labeled source notes in training: the features that enter the head, seen, mapped and compared."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clinnlp.domains.base import Array, Domain, Maps, Moments
from clinnlp.encode.packing import pad_rows
from clinnlp.errors import ConfigError
from clinnlp.strategies.base import in_head
from clinnlp.tasks.base import Example
from clinnlp.training.loader import Draw, generator
from clinnlp.training.supervised import ExampleSource

log = logging.getLogger("clinnlp")

MOST = 256  # vectors of a side that a loss compares: pairs of them are held in memory
STREAM = 5  # the last counter of the draws of target rows

Ids = NDArray[np.int32]


class Entrance:
    """The first linear layer of a head, (.., H) in: what it reads are the features of a model.

    `seen` holds them while `reading`. With `maps` it reads them mapped, as of the source or of the target.
    """

    def __init__(self, layer: torch.nn.Linear) -> None:
        self.layer = layer
        self.seen: list[torch.Tensor] | None = None
        self.maps: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self.side = "source"
        self._hook = layer.register_forward_pre_hook(self._look)

    def _look(self, layer: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        features = given[0]
        if self.seen is not None:
            self.seen.append(features)
        if self.side not in self.maps:
            return None
        matrix, shift = (part.to(features) for part in self.maps[self.side])
        return (features @ matrix + shift, *given[1:])

    @contextlib.contextmanager
    def reading(self) -> Iterator[list[torch.Tensor]]:
        """What the head reads meanwhile."""
        self.seen = []
        try:
            yield self.seen
        finally:
            self.seen = None

    def use(self, maps: Maps) -> None:
        """Map features from now on. Raises ConfigError for a shift that the layer has no bias to hold."""
        if self.layer.bias is None and maps.target is not None and np.abs(maps.target[1]).max() > 0:
            raise ConfigError("the head of this base has no bias to hold the shift of a map", where="domain")
        for side in ("source", "target"):
            if (given := getattr(maps, side)) is not None:
                self.maps[side] = (torch.tensor(given[0]), torch.tensor(given[1]))

    def fold(self) -> None:
        """Take the target's map into the weights of the layer, (x A + c) W' + b = x (A W') + (c W' + b), and let go."""
        if "target" in self.maps:
            matrix, shift = (part.to(self.layer.weight.device) for part in self.maps["target"])
            with torch.no_grad():
                weight = self.layer.weight.double()
                if self.layer.bias is not None:
                    self.layer.bias.add_((shift @ weight.T).to(self.layer.bias))
                self.layer.weight.copy_(weight @ matrix.T)
        self.remove()

    def remove(self) -> None:
        """Leave the layer alone."""
        self.maps = {}
        self._hook.remove()


def entrance(model: Any, heads: Sequence[str], row: Ids) -> Entrance:
    """The entrance of a model's head, by running a row through it.

    Raises ConfigError if there is no linear layer in the head that reads the vectors of the encoder.
    """
    inside = {name: module for name, module in model.named_modules() if in_head(name, heads)}
    linear = [module for module in inside.values() if isinstance(module, torch.nn.Linear)]
    order: list[torch.nn.Linear] = []
    hooks = [layer.register_forward_pre_hook(lambda layer, given: order.append(layer)) for layer in linear]
    model.eval()
    with torch.inference_mode():
        model(**batch_of([row], model, 0))
    for hook in hooks:
        hook.remove()
    if not order or order[0].in_features != int(model.config.hidden_size):
        raise ConfigError(
            "the head of this base and task has no linear layer at its entrance, so that its features cannot be seen",
            where="domain",
            next="choose --domain reweight, or another head",
        )
    return Entrance(order[0])


def batch_of(rows: Sequence[Ids], model: Any, pad_id: int) -> dict[str, torch.Tensor]:
    """Rows of ids as a batch on the device of a model: `input_ids` and `attention_mask` (B, S)."""
    device = next(model.parameters()).device
    return {name: tensor.to(device) for name, tensor in padded(rows, pad_id).items()}


def padded(rows: Sequence[Ids], pad_id: int) -> dict[str, torch.Tensor]:
    """Rows of ids side by side: `input_ids` and `attention_mask` (B, S)."""
    return {
        "input_ids": torch.from_numpy(pad_rows(rows, pad_id)),
        "attention_mask": torch.from_numpy(pad_rows([np.ones(len(row)) for row in rows], 0)),
    }


def vectors(seen: Sequence[torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
    """The feature vectors (N, H) of a batch, padding left out: of tokens, or of rows where the head reads one each."""
    features = torch.cat([part.flatten(0, -2) for part in seen])
    if len(features) == mask.numel():
        return features[mask.flatten().bool()]
    return features


class DomainSource:
    """Labeled examples of the source with, beside each, a row of the target: the loss of the task and of the domain.

    Which row stands beside an example depends on (seed, epoch, example) alone.
    """

    def __init__(
        self,
        source: ExampleSource,
        rows: Sequence[Ids],
        domain: Domain,
        entrance: Entrance,
        head: torch.nn.Module | None = None,
    ) -> None:
        self.source, self.rows, self.domain, self.entrance, self.head = source, rows, domain, entrance, head
        self.lengths = source.lengths

    def example(self, draw: Draw) -> tuple[Example, Ids, float]:
        """The example, the target row beside it, and the share of the steps done."""
        beside = int(generator(self.source.seed, draw.epoch, draw.index, STREAM).integers(len(self.rows)))
        return self.source.example(draw), self.rows[beside], draw.progress

    def collate(self, examples: Sequence[tuple[Example, Ids, float]]) -> dict[str, Any]:
        """The task's batch, and the target's under `target`."""
        batch: dict[str, Any] = dict(self.source.collate([example for example, _, _ in examples]))
        target = padded([row for _, row, _ in examples], self.source.pad_id)
        return {**batch, "target": target, "progress": torch.tensor(examples[0][2], dtype=torch.float64)}

    def loss(self, model: torch.nn.Module, batch: dict[str, Any], items: Any) -> torch.Tensor:
        """The loss of the task and, in the share that this batch has of the step, that of the domain."""
        target, progress = batch.pop("target"), float(batch.pop("progress"))
        share, mask = (batch["labels"] != -100).sum() / items, batch["attention_mask"]
        with self.entrance.reading() as seen:
            total = self.source.loss(model, batch, items)
            ours = list(seen)
        with self.entrance.reading() as seen:
            model(**target)
            theirs = list(seen)
        both = (vectors(ours, mask), vectors(theirs, target["attention_mask"]))
        with torch.autocast(mask.device.type, enabled=False):
            source, other = (_spread(one.float()) for one in both)
            return total + self.domain.share * share * self.domain.loss(self.head, source, other, progress)


def _spread(features: torch.Tensor) -> torch.Tensor:
    """At most MOST of the vectors, evenly spread."""
    if len(features) <= MOST:
        return features
    places = torch.linspace(0, len(features) - 1, MOST, device=features.device).round().long()
    return features[places]


@torch.inference_mode()
def moments(model: Any, entrance: Entrance, rows: Sequence[Ids], pad_id: int, batch: int) -> Moments:
    """The mean and covariance of the features of rows, without dropout. Raises ConfigError for fewer than two."""
    model.eval()
    count, total, products = 0, 0.0, 0.0
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place]))
    for first in range(0, len(order), batch):
        given = batch_of([rows[place] for place in order[first : first + batch]], model, pad_id)
        with entrance.reading() as seen:
            model(**given)
            found = vectors(seen, given["attention_mask"]).double().cpu().numpy()
        count, total, products = count + len(found), total + found.sum(axis=0), products + found.T @ found
    if count < 2:
        raise ConfigError("fewer than two feature vectors to align", where="domain", next="give more notes")
    mean: Array = np.asarray(total) / count
    return Moments(mean, (np.asarray(products) - count * np.outer(mean, mean)) / (count - 1), count)


def note_vectors(model: Any, notes: Sequence[Sequence[Ids]], pad_id: int, batch: int) -> Array:
    """The mean vector (N, H) by the encoder of the tokens of each note, specials included; `notes` are its rows."""
    rows = [(number, row) for number, note in enumerate(notes) for row in note]
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place][1]))
    sums, counts = np.zeros((len(notes), int(model.config.hidden_size)), np.float32), np.zeros(len(notes), np.float32)
    model.eval()
    with torch.inference_mode():
        for first in range(0, len(order), batch):
            some = [rows[place] for place in order[first : first + batch]]
            given = batch_of([row for _, row in some], model, pad_id)
            found = model.base_model(**given).last_hidden_state.float() * given["attention_mask"][:, :, None]
            for (number, row), summed in zip(some, found.sum(dim=1).cpu().numpy(), strict=True):
                sums[number] += summed
                counts[number] += len(row)
    return np.asarray(sums / np.maximum(counts, 1)[:, None], np.float64)
