"""A vocabulary trained on a corpus: as large as asked for, and the same at every run."""

import subprocess
import sys
from pathlib import Path

from clinnlp.encode.vocabulary import SPECIALS, train_wordpiece
from tests.tiny import sentences

SCRIPT = """
import sys
from pathlib import Path
from clinnlp.encode.vocabulary import train_wordpiece
from tests.tiny import sentences
train_wordpiece(sentences(), 200, 64, Path(sys.argv[1]))
"""


def entries(folder: Path) -> list[str]:
    return (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()


def test_what_is_in_it(tmp_path: Path) -> None:
    train_wordpiece(sentences(), 200, 64, tmp_path)
    made = entries(tmp_path)
    assert len(made) == len(set(made)) == 200
    assert tuple(made[:5]) == SPECIALS
    assert {"fever", "##e", "e", "[", "3"} <= set(made)
    assert "##[" not in made, "a bracket is a word of its own"


def test_the_same_in_every_process(tmp_path: Path) -> None:
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / name)], check=True)
    train_wordpiece(sentences(), 200, 64, tmp_path / "three")
    assert entries(tmp_path / "one") == entries(tmp_path / "two") == entries(tmp_path / "three")


def test_how_words_are_cut_by_hand(tmp_path: Path) -> None:
    """aspirin is one token of the vocabulary, xyz three pieces; 500 one; a sign that no entry has is unknown."""
    from clinnlp.core.document import Document, Span
    from clinnlp.encode.tokens import NoteTokenizer
    from clinnlp.encode.vocabulary import Cut, cuts

    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIALS, "aspirin", "500", "x", "##y", "##z"]), encoding="utf-8")
    from transformers import BertTokenizer

    names = (tmp_path / "vocab.txt").read_text(encoding="utf-8").split("\n")
    BertTokenizer(vocab={name: n for n, name in enumerate(names)}).save_pretrained(tmp_path)
    document = Document("1", "aspirin 500 xyz €", (Span(0, 7, "DRUG"), Span(12, 15, "DRUG")))
    whole, inside = cuts(NoteTokenizer.load(tmp_path), [document, document])
    assert whole == Cut(words=8, tokens=12, unknown=2) and whole.fertility == 1.5 and whole.unknown_rate == 1 / 6
    assert inside == Cut(words=4, tokens=8, unknown=0) and inside.fertility == 2.0
    assert Cut().fertility != Cut().fertility, "nothing over nothing is NaN"
