"""What objectives of whole rows share: the vectors of tokens and rows."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def hidden_size(model: "torch.nn.Module") -> int:
    """The width of a token vector."""
    config: Any = model.config
    return int(config.hidden_size)


def token_vectors(model: "torch.nn.Module", batch: "dict[str, torch.Tensor]") -> "torch.Tensor":
    """The encoder's last layer, (B, S, H) in float32; `batch` holds input_ids and attention.

    The whole model is called, its masked-LM head on no position: so autocast and data parallelism see the call.
    """
    import torch

    nothing = torch.zeros(0, dtype=torch.long, device=batch["input_ids"].device)
    vectors: torch.Tensor = model(**batch, masked=nothing, output_hidden_states=True).hidden_states[-1]
    return vectors.float()


def row_vectors(model: "torch.nn.Module", batch: "dict[str, torch.Tensor]") -> "torch.Tensor":
    """The mean of the token vectors of each row, (B, H) in float32."""
    seen = batch["attention_mask"][:, :, None].float()
    return (token_vectors(model, batch) * seen).sum(1) / seen.sum(1)


def twice(batch: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """The rows of a batch and then the same rows again, (2 B, ...)."""
    import torch

    return {name: torch.cat([values, values]) for name, values in batch.items()}
