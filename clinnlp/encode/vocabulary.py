"""A WordPiece vocabulary trained on a corpus."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

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
