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
