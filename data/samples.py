"""Writes data/samples: the same short notes in every format. `python data/samples.py --out data/samples`"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from clinnlp.core.document import Document
from clinnlp.formats.base import read, write
from clinnlp.formats.omop import Omop

SUFFIX = {"jsonl": "notes.jsonl", "csv": "notes.csv", "parquet": "notes.parquet", "conll": "notes.conll",
          "brat": "brat", "pubtator": "notes.pubtator", "docbin": "notes.spacy",
          "omop": "notes.sqlite"}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    notes = list(read(Path(__file__).parent / "notes" / "dev.jsonl", "jsonl"))
    short = [note for note in notes if 60 < len(note.text) < 700 and "\r" not in note.text][:6]
    out.mkdir(parents=True, exist_ok=True)
    for name, target in SUFFIX.items():
        held, format = (numbered(short), Omop(date="2026-01-31")) if name == "omop" else (short, name)
        print(name, json.dumps(write(held, out / target, format)))


def numbered(notes: list[Document]) -> list[Document]:
    """OMOP has whole numbers for notes and patients only."""
    groups = sorted({str(note.group) for note in notes})
    return [replace(note, id=str(n), group=str(groups.index(str(note.group)) + 1)) for n, note in enumerate(notes, 1)]


if __name__ == "__main__":
    main()
