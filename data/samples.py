"""Writes data/samples: the same short notes in every format. `python data/samples.py --out data/samples`"""

import argparse
import json
from pathlib import Path

from clinnlp.formats.base import read, write

SUFFIX = {"jsonl": "notes.jsonl", "csv": "notes.csv", "parquet": "notes.parquet", "conll": "notes.conll",
          "brat": "brat", "pubtator": "notes.pubtator", "docbin": "notes.spacy"}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    notes = list(read(Path(__file__).parent / "notes" / "dev.jsonl", "jsonl"))
    short = [note for note in notes if 60 < len(note.text) < 700 and "\r" not in note.text][:6]
    out.mkdir(parents=True, exist_ok=True)
    for name, target in SUFFIX.items():
        print(name, json.dumps(write(short, out / target, name)))


if __name__ == "__main__":
    main()
