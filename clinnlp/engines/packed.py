"""Packed torch: rows laid end to end without padding, each attending to itself alone."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clinnlp.encode.packing import position_offset
from clinnlp.encode.varlen import use_varlen
from clinnlp.engines.base import PROBE, Engine, as_array, batches, check_runner, plain_runner, probe_rows
from clinnlp.models.device import choose_device, choose_precision, place
from clinnlp.models.load import Runner, Trained


@dataclass(frozen=True)
class Packed(Engine):
    """No padding: linear layers see one matrix of all tokens, attention is computed row by row.

    It runs every architecture whose attention goes through transformers' AttentionInterface and whose positions can be
    given: BERT, RoBERTa, ELECTRA, ModernBERT and their kin. That a model is one of them is found out by trying it on
    rows of unlike lengths.
    """

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the matrix products, sums and norms being fp32; auto measures whether bf16 is faster here."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU where there is one."""

    def runner(self, trained: Trained) -> Runner:
        """Rows through a copy of the model. Raises ConfigError if its answers are not those of plain torch."""
        wanted = plain_runner(trained)(probe_rows(trained), sum(PROBE))
        model: Any = copy.deepcopy(trained.model).eval().to(place(choose_device(self.device, "engine.device")))
        packed = _Packed(model, per_token=wanted[0].ndim == 2)
        check_runner(self, trained, packed, wanted)
        if choose_precision(self.precision, packed.device.type) == "bf16":
            _products_in_bf16(model)
            check_runner(self, trained, packed, wanted, tolerance=math.inf)  # that it runs: how near is for `export`
        return packed


class _Packed:
    """The runner of a model that was made ready; `per_token` tells its heads apart."""

    def __init__(self, model: Any, per_token: bool) -> None:
        use_varlen(model)
        self.model, self.per_token = model, per_token
        self.device = next(model.parameters()).device
        self.offset = position_offset(model)
        self.bounds = np.zeros(1, np.int64)
        if not per_token:
            getattr(model.base_model, "encoder", model.base_model).register_forward_hook(self._first_tokens)

    def __call__(self, rows: Sequence[NDArray[np.int32]], budget: int) -> list[NDArray[np.float32]]:
        lengths = [len(row) for row in rows]
        found: dict[int, NDArray[np.float32]] = {}
        for batch in batches(lengths, budget, padded=False):
            self.bounds = np.cumsum([0, *(lengths[index] for index in batch)])
            logits = self._forward([rows[index] for index in batch])
            answers = np.split(logits[0], self.bounds[1:-1]) if self.per_token else logits
            found.update(zip(batch, answers, strict=True))
        return [found[index] for index in range(len(rows))]

    def _forward(self, rows: list[NDArray[np.int32]]) -> NDArray[np.float32]:
        """The logits of one batch: (1, T, C) of tokens, or (rows, L)."""
        import torch

        ids = torch.from_numpy(np.concatenate(rows).astype(np.int64))
        positions = torch.from_numpy(np.concatenate([np.arange(len(row)) for row in rows]) + self.offset)
        bounds = torch.from_numpy(self.bounds.astype(np.int32))
        with torch.inference_mode():
            output = self.model(
                input_ids=ids[None].to(self.device), position_ids=positions[None].to(self.device), cu_seq_lens_q=bounds
            )
            return as_array(output.logits)

    def _first_tokens(self, module: Any, arguments: Any, output: Any) -> Any:
        """Hidden states (1, T, H) as (rows, 1, H), of which the head of a whole row reads the first token."""
        output.last_hidden_state = output.last_hidden_state[0, self.bounds[:-1]].unsqueeze(1)
        return output


def _products_in_bf16(model: Any) -> None:
    """Give the linear layers of the encoder bf16 weights and inputs; what is not a matrix product stays fp32.

    So do the heads, and a pooler is part of one: what it gives goes to a layer in fp32.
    """
    import torch

    def rounded(layer: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0].to(torch.bfloat16),)

    for name, layer in model.base_model.named_modules():
        if isinstance(layer, torch.nn.Linear) and not name.startswith("pooler."):
            layer.to(torch.bfloat16).register_forward_pre_hook(rounded)
