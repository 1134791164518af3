"""What an engine is: one way to turn rows of token ids into the logits of a trained model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinnlp.encode.packing import pad_rows
from clinnlp.models.device import choose_device, choose_precision
from clinnlp.models.load import Runner, Trained


@dataclass(frozen=True)
class Engine:
    """One way to run a trained model; its fields are its options.

    To add one: write `clinnlp/engines/NAME.py` with one frozen dataclass that extends this class and defines
    `runner`. The runner answers rows of ids as plain torch does in fp32, up to the rounding of its number format.
    """

    kind: ClassVar[str] = "engines"
    variant: ClassVar[str] = "precision"
    """The option whose value may stand in the name: packed-bf16."""

    def resolved(self) -> "Engine":
        """The engine with a number format instead of `auto`, so that a run names what it was made with."""
        if getattr(self, "precision", None) != "auto":
            return self
        precision: Any = {"precision": choose_precision("auto", choose_device("auto"))}
        return replace(self, **precision)

    def runner(self, trained: Trained) -> Runner:
        """Make the model ready; what comes back takes rows of ids and a budget of tokens a forward pass.

        It answers with one array for each row, (S, C) or (L,), in the given order. Raises ConfigError if this engine
        cannot run the model.
        """
        raise AssertionError(f"{type(self).__name__} defines no runner()")


def batches(lengths: Sequence[int], budget: int, padded: bool) -> Iterator[list[int]]:
    """Indices in batches of at most `budget` tokens, longest first (ties in order); a longer row is alone.

    `padded` counts every row of a batch as long as its longest.
    """
    batch: list[int] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and tokens + lengths[batch[0] if padded else index] > budget:
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += lengths[batch[0] if padded else index]
    if batch:
        yield batch


def as_array(logits: Any) -> NDArray[np.float32]:
    """A torch tensor of logits as a float32 array."""
    found: NDArray[np.float32] = logits.float().cpu().numpy()
    return found


def plain_runner(trained: Trained, bf16: bool = False) -> Runner:
    """Padded batches through `trained.model`, whatever it is when they come."""
    pad = trained.tokenizer.pad_id or 0

    def run(rows: Sequence[NDArray[np.int32]], budget: int) -> list[NDArray[np.float32]]:
        import torch

        lengths = [len(row) for row in rows]
        device = next(trained.model.parameters()).device
        found: dict[int, NDArray[np.float32]] = {}
        for batch in batches(lengths, budget, padded=True):
            given = _padded([rows[index] for index in batch], pad)
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                output: Any = trained.model(**{name: values.to(device) for name, values in given.items()})
            logits = as_array(output.logits)
            for index, answer in zip(batch, logits, strict=True):
                found[index] = answer[: lengths[index]] if logits.ndim == 3 else answer
        return [found[index] for index in range(len(rows))]

    return run


def _padded(rows: list[NDArray[np.int32]], pad: int) -> dict[str, Any]:
    """`input_ids` (B, S), and `attention_mask` where the rows differ in length."""
    import torch

    ids = pad_rows(rows, pad)
    given = {"input_ids": torch.from_numpy(ids)}
    lengths = np.array([len(row) for row in rows])
    if (lengths != ids.shape[1]).any():
        mask = np.arange(ids.shape[1])[None, :] < lengths[:, None]
        given["attention_mask"] = torch.from_numpy(mask.astype(np.int64))
    return given
