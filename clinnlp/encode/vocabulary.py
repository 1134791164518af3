"""A WordPiece vocabulary trained on a corpus, and how a vocabulary cuts the words of notes."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clinnlp.core.document import Document
from clinnlp.encode.tokens import NoteTokenizer, units

BATCH = 512  # notes tokenized at once
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ALPHABET = 400  # characters with an entry of their own


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
