"""A WordPiece vocabulary trained on a corpus, and how a vocabulary cuts the words of notes."""

import copy
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clinnlp.core.document import Document
from clinnlp.encode.tokens import NoteTokenizer, units

BATCH = 512  # notes tokenized at once
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ALPHABET = 400  # characters with an entry of their own
_WORD = re.compile(r"(?<![^\W_])[^\W\d_]{4,}(?![^\W_])")


def train_wordpiece(texts: Sequence[str], size: int, positions: int, folder: Path) -> None:
    """Train an uncased WordPiece tokenizer of `size` entries for rows of up to `positions` tokens; save it in `folder`.

    Source: Schuster and Nakajima 2012; normalisation as in BERT (Devlin et al. 2019). The trainer numbers characters
    in the order of a hash table, which decides ties; given them in an order of ours, it makes the same vocabulary of
    the same texts.
    """
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizer

    trained = BertWordPieceTokenizer(lowercase=True)
    first: Counter[str] = Counter()
    inner: Counter[str] = Counter()
    for text in texts:
        words = Counter(
            word for word, _ in trained.pre_tokenizer.pre_tokenize_str(trained.normalizer.normalize_str(text))
        )
        for word, count in words.items():
            first[word[0]] += count
            for character in word[1:]:
                inner[character] += count
    ranked = sorted((first + inner).items(), key=lambda item: (-item[1], item[0]))[:ALPHABET]
    alphabet = sorted(character for character, _ in ranked)
    inside = [f"##{character}" for character in alphabet if character in inner]
    trained.train_from_iterator(
        texts, vocab_size=size, min_frequency=3, limit_alphabet=len(alphabet), initial_alphabet=alphabet,
        special_tokens=[*SPECIALS, *inside], show_progress=False,
    )  # fmt: skip
    vocabulary = sorted(trained.get_vocab().items(), key=lambda item: item[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece, _ in vocabulary), encoding="utf-8")
    BertTokenizer(vocab=dict(vocabulary), do_lower_case=True, model_max_length=positions).save_pretrained(folder)


@dataclass(frozen=True, slots=True)
class Cut:
    """How a tokenizer cuts words: how many there are, the tokens they take, and how many tokens it does not know.

    A word is a unit of `clinnlp.encode.tokens.units`: a run of letters, a run of digits or one other visible sign.
    """

    words: int = 0
    tokens: int = 0
    unknown: int = 0

    @property
    def fertility(self) -> float:
        """Tokens per word; NaN of no words."""
        return self.tokens / self.words if self.words else math.nan

    @property
    def unknown_rate(self) -> float:
        """The share of tokens that are the unknown one; NaN of no tokens."""
        return self.unknown / self.tokens if self.tokens else math.nan

    def __add__(self, other: "Cut") -> "Cut":
        return Cut(self.words + other.words, self.tokens + other.tokens, self.unknown + other.unknown)


def cuts(tokenizer: NoteTokenizer, documents: Sequence[Document]) -> tuple[Cut, Cut]:
    """How a tokenizer cuts all words of documents, and those in their spans alone."""
    whole, inside = Cut(), Cut()
    for start in range(0, len(documents), BATCH):
        some = documents[start : start + BATCH]
        for document, tokens in zip(some, tokenizer.encode_many([d.text for d in some]), strict=True):
            begins, unknown = units(document.text, tokens), tokens.ids == tokenizer.hf.unk_token_id
            covered = np.zeros(len(document.text) + 1, np.bool_)
            for span in document.spans:
                covered[span.start : span.end] = True
            held = covered[tokens.offsets[:, 0]]
            whole += Cut(int(begins.sum()), len(tokens), int(unknown.sum()))
            inside += Cut(int(begins[held].sum()), int(held.sum()), int(unknown[held].sum()))
    return whole, inside


def cut_words(tokenizer: NoteTokenizer, notes: Iterable[tuple[str, str]], most: int, least_groups: int) -> list[str]:
    """The words, at most so many, that would save the most tokens if each were one, in that order.

    A token that is the unknown one is a token to save too.
    `notes` are texts and their groups. A word is four letters or more as the tokenizer normalises them, without digits;
    it must stand in the notes of `least_groups` groups (patients).
    """
    normalizer = tokenizer.hf.backend_tokenizer.normalizer
    counts: Counter[str] = Counter()
    groups: dict[str, set[int]] = {}
    for text, group in notes:
        found = Counter(_WORD.findall(normalizer.normalize_str(text) if normalizer else text))
        counts.update(found)
        for word in found:
            if len(held := groups.setdefault(word, set())) < least_groups:
                held.add(hash(group))
    known = sorted(word for word in counts if len(groups[word]) >= least_groups)
    pieces = tokenizer.encode_many([f" {word}" for word in known])
    unknown = tokenizer.hf.unk_token_id
    costs = [len(tokens) - 1 + int((tokens.ids == unknown).sum()) for tokens in pieces]
    saved = {word: counts[word] * cost for word, cost in zip(known, costs, strict=True)}
    return sorted((word for word in known if saved[word] > 0), key=lambda word: (-saved[word], word))[:most]


def extended(tokenizer: NoteTokenizer, words: Sequence[str]) -> tuple[NoteTokenizer, list[list[int]]]:
    """A copy of a tokenizer that reads each word, standing alone, as one token, and the pieces it was cut into."""
    from tokenizers import AddedToken

    pieces = [tokens.ids.tolist() for tokens in tokenizer.encode_many([f" {word}" for word in words])]
    hf = copy.deepcopy(tokenizer.hf)
    hf.add_tokens([AddedToken(word, single_word=True, lstrip=True, normalized=True) for word in words])
    return NoteTokenizer(hf), pieces
