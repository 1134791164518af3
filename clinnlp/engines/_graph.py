"""What the engines with a graph of their own share: the model as a function of two arrays, rows run one by one."""

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinnlp.models.load import Runner, Trained

INPUTS = ("input_ids", "attention_mask")  # (B, S) int64, as every tool that runs such graphs expects them
OUTPUT = "logits"


def one_by_one(answer: Callable[[dict[str, NDArray[np.int64]]], NDArray[np.float32]]) -> Runner:
    """A runner of one row at a time: nothing is padded, and what is said of a row does not depend on its neighbours.

    In int8 it would, since activations are scaled by the largest of a batch: a shard that is labeled again in other
    company could then differ.
    """

    def run(rows: Sequence[NDArray[np.int32]], budget: int) -> list[NDArray[np.float32]]:
        return [answer(_given(row)).astype(np.float32)[0] for row in rows]

    return run


def _given(row: NDArray[np.int32]) -> dict[str, NDArray[np.int64]]:
    ids = row[None].astype(np.int64)
    return dict(zip(INPUTS, (ids, np.ones_like(ids)), strict=True))


@contextmanager
def traceable(trained: Trained, attention: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A copy of the model on the CPU as a torch module of INPUTS to logits, and two short rows to trace it with."""
    import warnings

    import torch

    model: Any = copy.deepcopy(trained.model).to("cpu", torch.float32).eval()
    model.set_attn_implementation(attention)

    class Function(torch.nn.Module):
        """The logits alone, without the rest of the output."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    ids = torch.full((2, min(24, trained.task.window)), 5)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield Function().eval(), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@contextmanager
def quiet() -> Iterator[None]:
    """No advice of exporters on the log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def threads(wanted: int | None) -> int:
    """The threads to compute with: those asked for, or as many as torch takes."""
    import torch

    return wanted or torch.get_num_threads()
