"""A WordPiece vocabulary trained on a corpus."""

from collections.abc import Iterable
from pathlib import Path

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_wordpiece(texts: Iterable[str], size: int, positions: int, folder: Path) -> None:
    """Train an uncased WordPiece tokenizer of `size` entries for rows of up to `positions` tokens; save it in `folder`.

    Source: Schuster and Nakajima 2012; normalisation as in BERT (Devlin et al. 2019).
    """
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizer

    trained = BertWordPieceTokenizer(lowercase=True)
    trained.train_from_iterator(
        texts, vocab_size=size, min_frequency=3, limit_alphabet=400, special_tokens=list(SPECIALS), show_progress=False
    )
    vocabulary = sorted(trained.get_vocab().items(), key=lambda item: item[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece, _ in vocabulary), encoding="utf-8")
    BertTokenizer(vocab=dict(vocabulary), do_lower_case=True, model_max_length=positions).save_pretrained(folder)
