"""Losses by note and scores of secrets, against the plain way of computing them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM

from clinnlp.encode.marks import MarkedText
from clinnlp.encode.packing import PackedBlocks, TokenStore
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.objectives.mlm import Mlm
from clinnlp.text.canaries import OPENING, draw_secrets, sentence
from clinnlp.training.memorisation import note_losses, secret_scores
from clinnlp.training.pretraining import BlockSource, mean_loss
from tests.tiny import sentences

Tiny = Callable[[str], Path]


@pytest.fixture(scope="module")
def model(tiny: Tiny) -> torch.nn.Module:
    made = AutoModelForMaskedLM.from_pretrained(tiny("roberta")).eval()
    Mlm().prepare(made)
    return made


def test_the_losses_of_notes_add_up_to_the_held_out_loss_of_a_pretraining(tiny: Tiny, model: torch.nn.Module) -> None:
    tokenizer = NoteTokenizer.load(tiny("roberta"))
    texts = [" ".join(sentences(6)[: 1 + n]) for n in range(6)]
    store = TokenStore.of(tokenizer, (MarkedText(text) for text in texts))
    source = BlockSource(PackedBlocks(store, tokenizer, 32, pack=False), Mlm(), tokenizer, 7)
    losses, counts = note_losses(model, source, draws=1, batch=4)
    mean, targets = mean_loss(model, source, 4)
    assert counts.sum() == targets
    assert (losses * counts).sum() / targets == pytest.approx(mean, rel=1e-5)
    more, masked = note_losses(model, source, draws=3, batch=4)
    assert (masked > counts).all() and not np.allclose(more, losses), "further draws mask other tokens"


def test_a_secret_is_scored_token_by_token(tiny: Tiny, model: torch.nn.Module) -> None:
    tokenizer = NoteTokenizer.load(tiny("roberta"))
    texts = [sentence(secret) for secret in draw_secrets(5, "s")]
    found = secret_scores(model, tokenizer, texts, len(OPENING), batch=7)
    for text, score in zip(texts, found, strict=True):
        tokens = tokenizer.encode(text)
        row = torch.from_numpy(tokenizer.wrap(tokens.ids)).long()
        plain, secret = 0.0, ""
        for number, (start, end) in enumerate(tokens.offsets.tolist()):
            if len(OPENING) <= start < end < len(text):
                place = number + len(tokenizer.prefix)
                hidden = row.clone()
                hidden[place] = tokenizer.mask_id
                with torch.inference_mode():
                    plain += float(model(hidden[None]).logits[0, place].log_softmax(-1)[row[place]])
                secret += text[start:end]
        assert secret == text[len(OPENING) : -1].replace(" ", ""), "the whole secret and nothing else"
        assert score == pytest.approx(plain, rel=1e-4)
