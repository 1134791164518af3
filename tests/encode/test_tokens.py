"""Whole notes become tokens whose offsets hold in the original text, whatever the tokenizer."""

import json
import pickle
import time
import unicodedata

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clinnlp.encode.tokens import NoteTokenizer, Tokens, unit_ranges, units
from clinnlp.errors import ConfigError, DataError, StorageError, UnsafeError
from tests.encode.nasty import KINDS, NASTY
from tests.tiny import TOKENIZER_OF

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="session", params=KINDS)
def tokenizer(request, tiny) -> NoteTokenizer:
    return NoteTokenizer.load(tiny(request.param))


@quick
@given(text=NASTY)
def test_offsets_hold_in_the_original_text(tokenizer, text):
    tokens = tokenizer.encode(text)
    starts, ends = tokens.offsets.T
    assert tokens.ids.dtype == np.int32 and tokens.offsets.dtype == np.int64
    assert (starts <= ends).all() and (np.diff(starts) >= 0).all()
    assert not len(tokens) or (starts[0] >= 0 and ends.max() <= len(text))
    for start, end in tokens.offsets.tolist():
        assert text[start:end] == text[start:end].strip()
    special = set(tokenizer.hf.all_special_ids) - {tokenizer.hf.unk_token_id}
    assert not special & set(tokens.ids.tolist())


@quick
@given(text=NASTY)
@example(text="[MASK]\u0301&amp;")  # Unigram reads the accent and the sign as one unknown token
def test_units_partition_what_tokens_cover(tokenizer, text):
    tokens = tokenizer.encode(text)
    marked = units(text, tokens)
    ranges = unit_ranges(text, tokens, marked).tolist()
    full = tokens.offsets[:, 1] > tokens.offsets[:, 0]
    assert len(ranges) == marked.sum() and not (marked & ~full).any()
    assert not full.any() or marked[np.flatnonzero(full)[0]]
    for (start, end), (after, _) in zip(ranges, [*ranges[1:], (len(text), 0)], strict=False):
        assert 0 <= start < end <= after <= len(text)
        assert text[start:end] == text[start:end].strip()
        assert end == len(text) or not unicodedata.category(text[end]).startswith("M"), "a grapheme was cut"
    inside = {c for start, end in ranges for c in range(start, end)}
    for start, end in tokens.offsets.tolist():
        assert inside.issuperset(c for c in range(start, end) if not text[c].isspace())


@quick
@given(text=st.text(st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_units_follow_their_definition(tokenizer, text):
    """Token by token, in plain Python, on text no tokenizer drops anything from."""
    classes = ["a" if c.isalpha() else "1" if c.isdigit() else c for c in text]
    begins = [
        not c.isspace() and (not c.isalnum() or i == 0 or classes[i - 1] != classes[i]) for i, c in enumerate(text)
    ]
    tokens = tokenizer.encode(text)
    expected, covered = [], 0
    for start, end in tokens.offsets.tolist():
        expected.append(any(begins[max(start, covered) : end]))
        covered = max(covered, end)
    assert units(text, tokens).tolist() == expected


@pytest.mark.parametrize("char", ["\u0301", "\u0323\u0301", "\ufe0f", "\u200d"])
def test_dropped_marks_belong_to_the_token_before(tokenizer, char):
    text = f"fever cafe{char} cough"
    tokens = tokenizer.encode(text)
    ranges = unit_ranges(text, tokens, units(text, tokens))
    assert [text[a:b] for a, b in ranges] == ["fever", f"cafe{char}", "cough"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aspirin 81mg, po", ["aspirin", "81", "mg", ",", "po"]),
        ("BP 120/80", ["BP", "120", "/", "80"]),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467 ok", ["\U0001f468\u200d\U0001f469\u200d\U0001f467", "ok"]),
        ("\U0001f44d\U0001f3fd ok", ["\U0001f44d\U0001f3fd", "ok"]),
        ("aspi\u00adrin\r\n\u00a0 po ", ["aspi\u00adrin", "po"]),
        ("a \u200b po", ["a", "po"]),
        (" \t\n", []),
        ("", []),
    ],
)
def test_units_are_words_numbers_and_signs(tokenizer, text, expected):
    tokens = tokenizer.encode(text)
    found = [text[a:b] for a, b in unit_ranges(text, tokens, units(text, tokens))]
    assert [piece for piece in found if piece != "\u200b"] == expected  # WordPiece drops a lone one


def test_flags_are_two_units_and_ideographs_and_signs_one_each(tiny):
    tokenizer = NoteTokenizer.load(tiny("bytebpe"))
    for text, expected in {
        "_+_": ["_", "+", "_"],
        "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7": ["\U0001f1e9\U0001f1ea", "\U0001f1eb\U0001f1f7"],
        "\u60a3\u8005": ["\u60a3", "\u8005"],
    }.items():
        tokens = tokenizer.encode(text)
        assert [text[a:b] for a, b in unit_ranges(text, tokens, units(text, tokens))] == expected


@pytest.mark.parametrize("mark", ["[MASK]", "[SEP]", "<s>", "<mask>", "[PAD]", "\uff3b\uff2d\uff21\uff33\uff2b\uff3d"])
def test_special_tokens_in_a_note_are_text(tokenizer, mark):
    for text in (mark, f"fever {mark} cough", f"x{mark}{mark}y", f"[{mark}]"):
        tokens = tokenizer.encode(text)
        special = set(tokenizer.hf.all_special_ids) - {tokenizer.hf.unk_token_id}
        assert not special & set(tokens.ids.tolist())
        assert len(tokens) >= len(tokenizer.encode("fever cough")) // 4
        covered = {c for a, b in tokens.offsets.tolist() for c in range(a, b)}
        assert covered == {c for c in range(len(text)) if not text[c].isspace()}


def test_many_equals_one_by_one(tokenizer, monkeypatch):
    monkeypatch.setattr("clinnlp.encode.tokens.BATCH_TEXTS", 3)
    monkeypatch.setattr("clinnlp.encode.tokens.BATCH_CHARS", 40)
    texts = ["fever", "", "  ", "chest pain " * 9, "caf\u00e9", "x", "5mg", "[MASK]"]
    for text, tokens in zip(texts, tokenizer.encode_many(texts), strict=True):
        alone = tokenizer.encode(text)
        assert tokens.ids.tolist() == alone.ids.tolist() and tokens.offsets.tolist() == alone.offsets.tolist()
    assert tokenizer.encode_many([]) == []


def test_a_pickled_copy_still_reads_specials_as_text(tokenizer):
    """A worker process gets one; tokenizers 0.23 forgets encode_special_tokens on the way."""
    text = f"fever {tokenizer.hf.mask_token} 5mg"
    there = pickle.loads(pickle.dumps(tokenizer))
    assert there.encode(text).ids.tolist() == tokenizer.encode(text).ids.tolist()
    assert tokenizer.mask_id not in there.encode(text).ids


def test_notes_are_never_truncated_or_padded(tiny, tmp_path):
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    rust = Tokenizer.from_file(str(tiny("wordpiece") / "tokenizer.json"))
    rust.enable_truncation(8)
    rust.enable_padding(length=32)
    PreTrainedTokenizerFast(tokenizer_object=rust, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(tmp_path)
    tokenizer = NoteTokenizer.load(tmp_path)
    assert len(tokenizer.encode("fever " * 100)) >= 100
    assert not (tokenizer.encode("fever").ids == tokenizer.pad_id).any()
    tokenizer.hf.save_pretrained(tmp_path)
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).truncation is not None, "the loaded one was changed"


def test_wrap_uses_the_tokenizer_s_own_specials(tokenizer):
    tokens = tokenizer.encode("fever")
    plain = tokenizer.hf("fever")["input_ids"]
    assert tokenizer.wrap(tokens.ids).tolist() == plain
    assert tokenizer.specials == len(plain) - len(tokens) == 2
    assert (tokenizer.prefix, tokenizer.suffix) == ((tokenizer.cls_id,), (tokenizer.sep_id,))
    assert len({tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id, tokenizer.mask_id}) == 4
    assert tokenizer.vocab_size == len(tokenizer.hf)


def test_a_tokenizer_without_specials_wraps_nothing(tmp_path, tiny):
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    rust = Tokenizer.from_file(str(tiny("wordpiece") / "tokenizer.json"))
    rust.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    tokenizer = NoteTokenizer(PreTrainedTokenizerFast(tokenizer_object=rust, unk_token="[UNK]"))
    assert tokenizer.specials == 0 and tokenizer.mask_id is None
    assert tokenizer.wrap([5, 6]).tolist() == [5, 6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fever \ud83d", "lone surrogate at character 6: the text is not valid Unicode."),
        (None, "a note must be a string, got NoneType."),
        (b"fever", "a note must be a string, got bytes."),
    ],
)
def test_what_is_no_text_is_refused(tokenizer, text, message):
    with pytest.raises(DataError) as caught:
        tokenizer.encode(text)
    assert str(caught.value) == message


def test_loading_errors_name_what_and_next(tmp_path, monkeypatch):
    with pytest.raises(StorageError) as caught:
        NoteTokenizer.load(tmp_path / "absent")
    assert "no readable tokenizer files here" in str(caught.value) and "Next: check the path" in str(caught.value)
    (tmp_path / "tokenizer.json").write_text("{bad")
    with pytest.raises(StorageError, match="no readable tokenizer files here"):
        NoteTokenizer.load(tmp_path)

    def remote(*args, **settings):
        assert settings["trust_remote_code"] is False
        raise ValueError("... set the option `trust_remote_code=True` to remove this error")

    def slow(*args, **settings):
        return type("Slow", (), {"is_fast": False})()

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", remote)
    with pytest.raises(UnsafeError, match="needs code from its folder"):
        NoteTokenizer.load(tmp_path)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", slow)
    with pytest.raises(ConfigError, match="no fast version"):
        NoteTokenizer.load(tmp_path)


def test_tokens_refuse_offsets_of_another_length():
    with pytest.raises(ValueError, match="cannot have"):
        Tokens(np.zeros(2, np.int32), np.zeros((3, 2), np.int64))


@pytest.mark.parametrize("kind", sorted(TOKENIZER_OF))
def test_tiny_models_embed_every_id(tiny, kind):
    from transformers import AutoConfig

    assert AutoConfig.from_pretrained(tiny(kind)).vocab_size == NoteTokenizer.load(tiny(kind)).vocab_size


def test_a_megabyte_on_one_line_takes_seconds(tokenizer):
    for text in ("chest pain 500 mg, " * 26_000, "caf\u00e9 \u00bd " * 70_000, "Zm9v" * 25_000):
        began = time.perf_counter()
        tokens = tokenizer.encode(text)
        assert units(text, tokens).any() and tokens.offsets[:, 1].max() >= len(text.rstrip())
        assert time.perf_counter() - began < 15  # 0.5 to 2 s alone; the machine is shared


def test_real_tokenizer_reads_the_whole_note(shared):
    """Its tokenizer.json truncates at 128 and pads to 128."""
    tokenizer = NoteTokenizer.load(shared / "models" / "all-MiniLM-L6-v2")
    text = "Pt c/o cafe\u0301-au-lait spots; [MASK] 5mg. " * 100
    tokens = tokenizer.encode(text)
    assert len(tokens) > 1000 and tokens.offsets[-1, 1] == len(text) - 1
    assert (tokenizer.prefix, tokenizer.suffix) == ((101,), (102,)) and not (tokens.ids == 103).any()
    first = [text[a:b] for a, b in unit_ranges(text, tokens, units(text, tokens))[:8]]
    assert first == ["Pt", "c", "/", "o", "cafe\u0301", "-", "au", "-"]
    assert len(tokenizer.encode("fever")) == 1


def test_a_saved_tokenizer_is_the_same_and_says_nothing_of_this_machine(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    said = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert said and not {"is_local", "local_files_only"} & set(said)
    again = NoteTokenizer.load(tmp_path)
    text = "BP 120/80, 5mg q.d.\r\nnaïve 😀"
    one, other = tokenizer.encode(text), again.encode(text)
    assert one.ids.tolist() == other.ids.tolist() and one.offsets.tolist() == other.offsets.tolist()
