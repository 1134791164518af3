"""The model of a pretraining run: from a base or from nothing, with adapters or without."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clinnlp.core.run import Run
from clinnlp.errors import ConfigError
from clinnlp.objectives.base import HEAD
from clinnlp.strategies.lora import Lora

if TYPE_CHECKING:
    from clinnlp.encode.tokens import NoteTokenizer
    from clinnlp.recipes.pretrain import Pretrain

log = logging.getLogger("clinnlp")


@dataclass(frozen=True)
class Scratch:
    """A new BERT with random weights, and a WordPiece vocabulary trained on the corpus."""

    layers: int = 4
    """Transformer layers."""
    hidden: int = 256
    """Width of a token vector."""
    heads: int = 4
    """Attention heads."""
    intermediate: int = 1024
    """Width of the feed-forward layer."""
    vocabulary: int = 10_000
    """Entries of the WordPiece vocabulary."""
    positions: int = 512
    """Longest row in tokens."""


def starting_model(settings: "Pretrain", texts: Sequence[str], run: Run) -> "tuple[Any, NoteTokenizer, bool]":
    """The model to train, its tokenizer, and whether its masked-LM head is fresh."""
    from transformers import BertConfig, BertForMaskedLM, set_seed

    from clinnlp.encode.tokens import NoteTokenizer
    from clinnlp.encode.vocabulary import train_wordpiece
    from clinnlp.models.folder import base_pins, sha256_of
    from clinnlp.models.load import Base

    set_seed(settings.seed)
    if settings.base is not None:
        base = Base(settings.base, settings.revision, settings.download)
        tokenizer = base.tokenizer()
        model, fresh = base.model(settings.objective.model_class)
        base.fits(tokenizer, model)
        run.pin("weights", base_pins(settings.base, base.sha256()))
        if fresh:
            log.warning("the base has no language-model head: it gets a fresh one (%d new weights)", len(fresh))
        return model, tokenizer, bool(fresh)
    new = settings.scratch
    train_wordpiece(texts, new.vocabulary, new.positions, run.folder / "model")
    run.pin("weights", {"vocabulary": sha256_of(run.folder / "model" / "vocab.txt")})
    tokenizer = NoteTokenizer.load(run.folder / "model")
    log.info("trained a vocabulary of %d entries; starting from random weights", tokenizer.vocab_size)
    shape = BertConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=new.hidden, num_hidden_layers=new.layers,
        num_attention_heads=new.heads, intermediate_size=new.intermediate, max_position_embeddings=new.positions,
        pad_token_id=tokenizer.pad_id,
    )  # fmt: skip
    return BertForMaskedLM(shape), tokenizer, True


def adapted_model(settings: "Pretrain", model: Any, fresh: bool, new_ids: Sequence[int] = ()) -> Any:
    """The model with adapters, if those are to move; objectives' own heads and rows of new ids move as well."""
    if not isinstance(settings.strategy, Lora):
        return model
    if fresh:
        raise ConfigError(
            "adapters need a masked-LM head that is trained already, and this one is fresh", where="strategy",
            next="choose a base with such a head, or --strategy full",
        )  # fmt: skip
    adapted: Any = settings.strategy.adapt(model, [], new_ids)
    for name, weight in adapted.named_parameters():
        weight.requires_grad |= f".{HEAD}" in name
    return adapted


def whole_model(model: Any, run: Run) -> Any:
    """The model without adapters: they are saved on their own, then made part of its weights."""
    if not hasattr(model, "merge_and_unload"):
        return model
    model.save_pretrained(run.folder / "adapter", save_embedding_layers=False)
    return model.merge_and_unload()
