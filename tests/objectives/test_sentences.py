"""Objectives of whole rows: what they read, and their losses by hand."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize
from transformers import AutoModelForMaskedLM

from clinnlp.core.document import Document, Span
from clinnlp.encode.packing import attention
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.errors import ConfigError
from clinnlp.objectives._sentences import row_vectors, token_vectors
from clinnlp.objectives.base import CORPUS, Objective
from clinnlp.objectives.mlm import Mlm
from clinnlp.objectives.nsp import Nsp
from clinnlp.objectives.sentence_order import SentenceOrder
from clinnlp.objectives.simcse import Simcse
from clinnlp.objectives.supcon import Supcon
from clinnlp.objectives.supervised import Supervised
from clinnlp.objectives.tsdae import Tsdae
from clinnlp.recipes._pretraining_data import block_source
from clinnlp.training.dropout import set_dropout
from clinnlp.training.fit import fit
from clinnlp.training.loader import Draw
from clinnlp.training.pretraining import BlockSource, MixedSource, mean_loss
from clinnlp.training.settings import FitSettings
from tests.tiny import sentences

Tiny = Callable[[str], Path]


def load(tiny: Tiny, kind: str = "bert") -> tuple[Any, NoteTokenizer]:
    return AutoModelForMaskedLM.from_pretrained(tiny(kind)).eval(), NoteTokenizer.load(tiny(kind))


def rows_of(objective: Objective, tokenizer: NoteTokenizer, texts: list[str], seed: int = 1) -> BlockSource:
    notes = [Document(str(n), text) for n, text in enumerate(texts)]
    return block_source(objective, notes, tokenizer, 64, packed=True, seed=seed)


def batch(source: Any, count: int, epoch: int = 0) -> dict[str, Any]:
    made: dict[str, Any] = source.collate([Draw(epoch, index, 0.5) for index in range(count)])
    return made


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert", "deberta_v2", "electra"])
def test_vectors_are_those_of_the_encoder(kind: str, tiny: Tiny) -> None:
    model, tokenizer = load(tiny, kind)
    source = rows_of(Simcse(), tokenizer, ["fever", "chest pain and fever"])
    source.objective.prepare(model)
    given = batch(source, 2)
    read = {"input_ids": given["input_ids"], **attention(model, given["pieces"], given["positions"], packed=False)}
    with torch.inference_mode():
        wanted = model.base_model(**read).last_hidden_state
        assert torch.allclose(token_vectors(model, read), wanted, atol=1e-5)
        seen = int((given["pieces"][0] >= 0).sum())
        assert torch.allclose(row_vectors(model, read)[0], wanted[0, :seen].mean(0), atol=1e-5)


def test_pairs_are_cut_at_sentences_and_half_of_them_swapped(tiny: Tiny) -> None:
    _, tokenizer = load(tiny)
    text = "no fever . chest pain"
    source = rows_of(SentenceOrder(), tokenizer, ["No fever. Chest pain"])
    first, second = (tokenizer.encode(part).ids.tolist() for part in ("No fever.", "Chest pain"))
    frame, end = list(tokenizer.prefix), list(tokenizer.suffix)
    seen: dict[int, int] = {0: 0, 1: 0}
    for epoch in range(40):
        given = batch(source, 1, epoch)
        swapped = int(given["labels"][0])
        a, b = (second, first) if swapped else (first, second)
        assert given["input_ids"][0].tolist() == [*frame, *a, *end, *b, *end], text
        assert given["token_type_ids"][0].tolist() == [0] * (len(frame) + len(a) + len(end)) + [1] * (len(b) + len(end))
        seen[swapped] += 1
    assert min(seen.values()) > 8


def test_a_row_of_one_word_has_no_pair(tiny: Tiny) -> None:
    model, tokenizer = load(tiny)
    source = rows_of(SentenceOrder(), tokenizer, ["fever"])
    source.objective.prepare(model)
    given = batch(source, 1)
    assert given["labels"].tolist() == [-100]
    assert source.loss(model, given, 0).item() == 0.0


def test_the_second_stretch_is_the_next_or_of_another_note(tiny: Tiny) -> None:
    _, tokenizer = load(tiny)
    texts = ["No fever. Chest pain", "No cough. Known diabetes"]
    source = rows_of(Nsp(), tokenizer, texts)
    ends = [tokenizer.encode(text.split(". ")[1]).ids.tolist() for text in texts]
    end = len(tokenizer.suffix)
    labels = []
    for epoch in range(60):
        given = batch(source, 2, epoch)
        for row in range(2):
            ids = given["input_ids"][row][given["token_type_ids"][row] == 1].tolist()[:-end]
            label = int(given["labels"][row])
            assert ids == (ends[1 - row][: len(ends[row])] if label else ends[row])
            labels.append(label)
    assert 0.15 < np.mean(labels) < 0.4, "of half of the rows, when the other row is not the same one"


def test_simcse_by_hand(tiny: Tiny) -> None:
    model, tokenizer = load(tiny)
    source = rows_of(Simcse(temperature=0.1), tokenizer, ["fever", "chest pain", "known diabetes mellitus"])
    source.objective.prepare(model)
    given = batch(source, 3)
    read = {"input_ids": given["input_ids"], **attention(model, given["pieces"], given["positions"], packed=False)}
    with torch.inference_mode():
        vectors = normalize(row_vectors(model, read), dim=1)
        cosines = (vectors @ vectors.T / 0.1).exp()
        wanted = sum(-math.log(cosines[i, i] / cosines[i].sum()) for i in range(3)) / 3
        assert source.loss(model, given, 3).item() == pytest.approx(wanted, abs=1e-4)


def labeled(labels: list[tuple[str, ...]], tokenizer: NoteTokenizer) -> BlockSource:
    texts = sentences(len(labels))
    notes = [Document(str(n), text, labels=given) for n, (text, given) in enumerate(zip(texts, labels, strict=True))]
    return block_source(Supcon().on(notes), notes, tokenizer, 64, packed=True, seed=1)


def test_supcon_by_hand(tiny: Tiny) -> None:
    model, tokenizer = load(tiny)
    source = labeled([("a",), ("b",), ("a",), ()], tokenizer)
    source.objective.prepare(model)
    given = batch(source, 4)
    assert given["labels"].tolist() == [0, 1, 0, -100]
    read = {"input_ids": given["input_ids"], **attention(model, given["pieces"], given["positions"], packed=False)}
    with torch.inference_mode():
        three = normalize(row_vectors(model, read), dim=1)[:3]
        vectors, classes = torch.cat([three, three]), [0, 1, 0, 0, 1, 0]
        scores = (vectors @ vectors.T / 0.1).exp()
        wanted = 0.0
        for i in range(6):
            others = [j for j in range(6) if j != i]
            positives = [j for j in others if classes[j] == classes[i]]
            total = sum(float(scores[i, j]) for j in others)
            wanted -= sum(math.log(float(scores[i, j]) / total) for j in positives) / len(positives)
        assert source.loss(model, given, 3).item() == pytest.approx(wanted / 6, abs=1e-4)


def test_classes_are_label_sets_and_two_are_needed(tiny: Tiny) -> None:
    _, tokenizer = load(tiny)
    source = labeled([("b", "a"), ("a",), ("a", "b")], tokenizer)
    assert source.objective.classes == ("a", "a + b")  # type: ignore[attr-defined]
    assert batch(source, 3)["labels"].tolist() == [1, 0, 1]
    with pytest.raises(ConfigError, match="the notes have 1 classes, two are needed"):
        labeled([("a",), ("a",), ()], tokenizer)


def test_what_is_left_after_deletion_keeps_its_frame_and_order(tiny: Tiny) -> None:
    _, tokenizer = load(tiny)
    text = " ".join(sentences(6))
    source = rows_of(Tsdae(deletion=0.6), tokenizer, [text, "fever"])
    left, every = 0, 0
    for epoch in range(30):
        given = batch(source, len(source.lengths), epoch)
        for ids, pieces, whole in zip(given["input_ids"], given["pieces"], given["whole"], strict=True):
            kept = ids[pieces >= 0].tolist()
            row = iter(whole.tolist())
            assert all(token in row for token in kept), "in their order"
            assert kept[0] == tokenizer.prefix[0] and kept[-1] == tokenizer.suffix[0] and len(kept) > 2
        left += int((given["pieces"] >= 0).sum()) - 2 * len(given["pieces"])
        every += int((given["whole"] != tokenizer.pad_id).sum()) - 2 * len(given["pieces"])
    assert left / every == pytest.approx(0.4, abs=0.05)


def test_the_decoder_does_not_see_the_token_it_writes(tiny: Tiny) -> None:
    model, tokenizer = load(tiny)
    source = rows_of(Tsdae(), tokenizer, [sentences(1)[0]])
    source.objective.prepare(model)
    given = batch(source, 1)
    with torch.no_grad():
        decoder = model.clinnlp_tsdae
        tokens, vector = torch.randn(1, 6, decoder.vector.out_features), torch.randn(1, decoder.vector.in_features)
        before = decoder(tokens, vector)
        tokens[0, 4] += 1
        changed = (decoder(tokens, vector) - before).abs().amax(2)[0] > 1e-6
    assert changed.tolist() == [False] * 4 + [True] * 2
    assert math.isfinite(source.loss(model, given, 1).item())


def tagged(text: str, corpus: int, *spans: tuple[int, int, str]) -> Document:
    return Document(text, text, spans=tuple(Span(*span) for span in spans), meta={CORPUS: corpus})


def test_supervised_tags_and_the_labels_of_a_corpus(tiny: Tiny) -> None:
    model, tokenizer = load(tiny)
    notes = [
        tagged("fever and cough", 0, (0, 5, "Problem"), (10, 15, "Sign")),
        tagged("chest pain", 1, (0, 10, "Disease")),
        tagged("no notes", 2),
        tagged("source text", -1, (0, 6, "Other")),
    ]
    objective = Supervised(labels={"Problem": "PROBLEM", "Disease": "PROBLEM", "Sign": None}).on(notes)
    assert objective.corpora == (("PROBLEM",), ("PROBLEM",), ())
    objective = Supervised(labels={"Disease": "Problem"}).on(notes)
    assert objective.corpora == (("Problem", "Sign"), ("Problem",), ())
    source = block_source(objective, notes, tokenizer, 64, packed=True, seed=1)
    given = batch(source, 4)
    tags = [row[row != -100].tolist() for row in given["labels"]]
    pain = [1] + [2] * (len(tokenizer.encode("chest pain").ids) - 1)
    fever, cough = (len(tokenizer.encode(word).ids) for word in ("fever", "cough"))
    assert tags == [[1] + [2] * (fever - 1) + [0] + [3] + [4] * (cough - 1), pain, [], []]
    objective.prepare(model)
    assert model.clinnlp_supervised.open_to.tolist() == [
        [True] * 5, [True, True, True, False, False], [True, False, False, False, False],
    ]  # fmt: skip
    assert math.isfinite(source.loss(model, given, 5).item())
    with pytest.raises(ConfigError, match="no note has the label 'Absent'"):
        Supervised(labels={"Absent": None}).on(notes)
    with pytest.raises(ConfigError, match="the notes have 0 labels"):
        Supervised().on(notes[2:])


@pytest.mark.parametrize(
    "objective", [Simcse(), Supcon(), SentenceOrder(), Nsp(), Tsdae(), Supervised()], ids=lambda o: type(o).__name__
)
def test_training_lowers_the_held_out_loss_and_leaves_no_head(objective: Objective, tiny: Tiny) -> None:
    torch.manual_seed(0)
    model, tokenizer = load(tiny)
    names = set(model.state_dict())
    words = sentences(200)
    notes = [
        Document(str(n), f"{'Fever' if n % 2 else 'Cough'} today. {text}", (Span(0, 5, "A"),), (f"{n % 2}",))
        for n, text in enumerate(words)
    ]
    objective = objective.on(notes)
    train, held_out = (block_source(objective, part, tokenizer, 64, True, 1) for part in (notes[:160], notes[160:]))
    objective.prepare(model)
    set_dropout(model, objective.dropout)
    before, targets = mean_loss(model, held_out, 16)
    settings = FitSettings(epochs=8, batch=16, learning_rate=1e-3, device="cpu", precision="fp32")
    groups = [{"params": list(model.parameters()), "lr": 1e-3}]
    fit(model, train, groups, settings, 1)
    after, _ = mean_loss(model, held_out, 16)
    gain = 0.1 if isinstance(objective, SentenceOrder | Tsdae | Supervised) else 0.02
    assert targets > 0 and after < (1 - gain) * before
    objective.finish(model)
    assert set(model.state_dict()) == names


def test_objectives_together_are_the_weighted_sum_of_each(tiny: Tiny) -> None:
    model, tokenizer = load(tiny)
    texts = [f"Fever today. {text}" for text in sentences(12)]
    first, order, contrast = (rows_of(o, tokenizer, texts) for o in (Mlm(), SentenceOrder(), Simcse()))
    mixed = MixedSource(first, [(0.5, order), (2.0, contrast)])
    for source in (first, order, contrast):
        source.objective.prepare(model)
    assert mixed.lengths is first.lengths
    given = batch(mixed, 2)
    items = int((given["labels"] != -100).sum())
    with torch.no_grad():
        alone = [
            source.loss(model, dict(part), int((part["labels"] != -100).sum())).item()
            for source, part in zip((first, order, contrast), given["parts"], strict=True)
        ]
        together = mixed.loss(model, given, items).item()
        assert together == pytest.approx(alone[0] + 0.5 * alone[1] + 2.0 * alone[2], rel=1e-5)
        assert mixed.loss(model, given, 2 * items).item() == pytest.approx(together / 2, rel=1e-5), "half of a step"
    assert torch.equal(given["labels"], batch(first, 2)["labels"])
