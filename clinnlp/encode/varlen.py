"""Attention of pieces that lie end to end: each is computed by itself, and nothing between them."""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

VARLEN = "clinnlp_varlen"  # the name under which transformers knows our attention


def use_varlen(model: Any) -> None:
    """Let `model` attend within the pieces that are named in a call, and to all that is not padding where none are.

    They are named as `cu_seq_lens_q`, flash attention's name for where pieces begin and the last one ends, as int32 on
    the CPU, counted over all rows of a batch. On a GPU that has flash-attn, bf16 and fp16 go through its kernel.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(VARLEN, _attention)
    AttentionMaskInterface.register(VARLEN, sdpa_mask)
    model.set_attn_implementation(VARLEN)


def _attention(
    module: Any, query: "torch.Tensor", key: "torch.Tensor", value: "torch.Tensor", attention_mask: Any,
    cu_seq_lens_q: "torch.Tensor | None" = None, **given: Any,
) -> "tuple[torch.Tensor, None]":  # fmt: skip
    """Query, key and value are (B, heads, S, D), the answer (B, S, heads, D)."""
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    dropout, scaling, window = given.get("dropout", 0.0), given.get("scaling"), given.get("sliding_window")
    if cu_seq_lens_q is None:
        answer: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal=False
        )
        return answer
    shape = query.transpose(1, 2).shape
    q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (query, key, value))  # (B * S, heads, D)
    if q.is_cuda and q.dtype in (torch.bfloat16, torch.float16) and (flash := _flash()):
        bounds, longest = cu_seq_lens_q.to(q.device), int(cu_seq_lens_q.diff().max())
        near = (-1, -1) if window is None else (window - 1, window - 1)
        found = flash(q, k, v, bounds, bounds, longest, longest, dropout, scaling, window_size=near)
    else:
        found = torch.cat([
            _alone([x[first : first + rows * length].view(rows, length, *x.shape[1:]) for x in (q, k, v)],
                   dropout, scaling, window)
            for first, rows, length in _alike(cu_seq_lens_q.tolist())
        ])  # fmt: skip
    return found.view(shape), None


def _alone(
    parts: "Sequence[torch.Tensor]", dropout: float, scaling: float | None, window: int | None
) -> "torch.Tensor":
    """Attention of pieces of one length, (pieces, length, heads, D), as (tokens, heads, D)."""
    from torch.nn.functional import scaled_dot_product_attention

    q, k, v = (part.transpose(1, 2) for part in parts)
    mask = _near(q.shape[2], window, q.device)
    found = scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scaling)
    return found.transpose(1, 2).flatten(0, 1)


def _flash() -> Any:
    """The kernel for pieces of unlike lengths of the package flash-attn; None where it is not installed."""
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError:
        return None
    return flash_attn_varlen_func


def _alike(bounds: list[int]) -> Iterator[tuple[int, int, int]]:
    """Runs of pieces of one length as (first token, pieces, length)."""
    first = 0
    for length, run in groupby(end - start for start, end in pairwise(bounds)):
        pieces = sum(1 for _ in run)
        yield first, pieces, length
        first += pieces * length


def _near(length: int, window: int | None, device: Any) -> Any:
    """Which tokens a local layer lets see each other, those less than `window` apart; None where all do."""
    import torch

    if window is None or length <= window:
        return None
    place = torch.arange(length, device=device)
    return (place[:, None] - place[None, :]).abs() < window
