"""New entries of the vocabulary: which words, where their rows begin, and that they go everywhere a model goes."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from clinnlp.core.document import Document
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.encode.vocabulary import cut_words, extended
from clinnlp.recipes._pretraining_vocabulary import _add_rows, _without_placeholders
from clinnlp.text.surrogates import FILLED
from tests.recipes.command import FAST, clinnlp, read_json, write_jsonl
from tests.tiny import sentences

Tiny = Callable[[str], Path]
TEXT = "Pt with cholelithiasis and CHOLELITHIASIS; Zimmermann has xanthelasma2."


@pytest.mark.parametrize("kind", ["wordpiece", "bytebpe", "unigram"])
def test_words_that_save_the_most_tokens_and_stand_in_notes_of_several_patients(kind: str, tiny: Tiny) -> None:
    tokenizer = NoteTokenizer.load(tiny(kind))
    notes = [(TEXT, f"p{n}") for n in range(3)] + [("Zimmermann " * 500, "p0"), ("thrombocytosis " * 9, "p1")]
    words = cut_words(tokenizer, notes, most=10, least_groups=3)
    lowered = {word.lower() for word in words}
    assert "cholelithiasis" in lowered and "zimmermann" in lowered, "it stands in notes of three patients"
    assert not any("xanthelasma" in word for word in lowered), "with a digit it is no word"
    assert "thrombocytosis" not in lowered, "one patient alone"
    assert cut_words(tokenizer, notes, most=1, least_groups=3)[0].lower() == "zimmermann", "503 times"
    assert cut_words(tokenizer, notes, most=10, least_groups=4) == []

    wider, pieces = extended(tokenizer, words)
    unknown = tokenizer.hf.unk_token_id
    assert all(len(part) > 1 or part == [unknown] for part in pieces)
    before, after = tokenizer.encode(TEXT), wider.encode(TEXT)
    assert len(after) < len(before) and wider.vocab_size == tokenizer.vocab_size + len(words)
    surfaces = [TEXT[start:end] for start, end in after.offsets[after.ids >= tokenizer.vocab_size].tolist()]
    assert "cholelithiasis" in surfaces, "one token, its place is that of the word"
    assert not any(surface != surface.strip() for surface in surfaces)
    assert "cholelithiasis" not in [TEXT[a:b] for a, b in before.offsets.tolist()]


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert"])
def test_a_new_row_is_the_mean_of_its_pieces(kind: str, tiny: Tiny) -> None:
    model = AutoModelForMaskedLM.from_pretrained(tiny(kind))
    old = model.get_input_embeddings().weight.detach().clone()
    _add_rows(model, len(old), [[5, 6], [7]])
    rows = model.get_input_embeddings().weight
    assert torch.equal(rows[: len(old)], old)
    assert torch.allclose(rows[len(old)], (old[5] + old[6]) / 2) and torch.equal(rows[len(old) + 1], old[7])
    logits = model(input_ids=torch.tensor([[2, 5, 3]])).logits
    assert logits.shape[-1] == len(old) + 2
    assert torch.allclose(logits[..., -1], logits[..., 7], atol=1e-5), "what is guessed as often as its only piece"


@pytest.mark.parametrize("strategy", ["full", "lora"])
def test_a_model_with_new_entries_end_to_end(strategy: str, tiny: Tiny, tmp_path: Path) -> None:
    texts = [f"{text} cholelithiasis, thrombocytosis" for text in sentences(30)]
    notes = write_jsonl(tmp_path / "n.jsonl", [{"id": str(n), "text": text} for n, text in enumerate(texts)])
    words = ("--base", tiny("bert"), "--data.train", notes, "--block", 64, *FAST, "--fit.max_steps", 2)
    words += ("--strategy", strategy, "--fit.learning_rate", 1e-2)
    out = tmp_path / "run"
    assert clinnlp("pretrain", *words, "--vocabulary.add", 2, "--vocabulary.gate", 1, "--out", out) == 0
    told = read_json(out / "metrics.json")["pretraining"]["vocabulary"]
    assert told["added"] == 2 and told["after"]["tokens_per_word"] < told["before"]["tokens_per_word"]
    assert "2 words became tokens" in (out / "report.txt").read_text()
    tokenizer = AutoTokenizer.from_pretrained(out / "model")
    model = AutoModelForMaskedLM.from_pretrained(out / "model")
    ids = tokenizer("Thrombocytosis and cholelithiasis.")["input_ids"]
    first = len(tokenizer) - 2
    assert sum(number >= first for number in ids) == 2, "plain transformers reads them as one token each"
    base = AutoModelForMaskedLM.from_pretrained(tiny("bert"))
    rows, old = (m.get_input_embeddings().weight for m in (model, base))
    assert len(rows) == len(old) + 2
    assert torch.equal(rows[:first], old) == (strategy == "lora"), "with adapters the new rows alone have moved"
    _, pieces = extended(NoteTokenizer.load(tiny("bert")), ["cholelithiasis"])
    begun = old[pieces[0]].mean(dim=0)
    assert min(float((row - begun).abs().max()) for row in rows[first:]) > 0, "and they have"
    assert math.isfinite(read_json(out / "metrics.json")["pretraining"]["held_out"]["notes"]["perplexity_after"])


def test_a_vocabulary_that_cuts_little_is_left_alone(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = write_jsonl(tmp_path / "n.jsonl", [{"id": str(n), "text": text} for n, text in enumerate(sentences(20))])
    words = ("--base", tiny("bert"), "--data.train", notes, "--block", 64, *FAST, "--fit.max_steps", 1)
    assert clinnlp("pretrain", *words, "--vocabulary.add", 9, "--vocabulary.gate", 99, "--out", tmp_path / "run") == 0
    assert "no words are added: words take" in capsys.readouterr().err
    assert read_json(tmp_path / "run" / "metrics.json")["pretraining"]["vocabulary"]["added"] == 0


@pytest.mark.parametrize("filled", [[[4, 9]], ((4, 9),)])
def test_placeholders_and_made_up_values_give_no_entries(filled: object) -> None:
    """Both in one note, and the latter as lists, as they are read back from disk."""
    note = Document("1", "Dr. Reyes saw ___ today", meta={FILLED: filled})
    assert _without_placeholders(note).split() == ["Dr.", "saw", "today"]
