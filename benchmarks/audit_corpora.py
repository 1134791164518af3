"""What `clinnlp audit` says of three open corpora, beside what was counted on their files without clinnlp.

    python benchmarks/audit_corpora.py CORPORA

MTSamples and MTS-Dialog are read as they are, CHIA from its two archives. `expected` holds the counts of the data's own
README where the two count the same thing; where they do not, `why` says how they differ.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells

MTSAMPLES = ("--data.id_field", "note_id", "--data.text_field", "transcription")
MTS_DIALOG = ("--data.format", "csv", "--data.id_field", "ID", "--data.text_field", "section_text",
              "--data.labels_field", "section_header")  # fmt: skip
SPLITS = {"train": "TrainingSet", "dev": "ValidationSet", "test": "TestSet-1-MEDIQA-Chat-2023"}

Found = dict[str, Any]
Row = tuple[str, Callable[[Found], Any], Any, str]  # what, where it stands, expected, why it differs


def audited(name: str, folder: Path, *words: object) -> tuple[list[str], Found]:
    """The command, without the places of files, and what it found."""
    out = folder / f"audit-{name}"
    given = [str(word) for word in words]
    done = subprocess.run(
        [sys.executable, "-m", "clinnlp", "audit", *given, "--out", str(out)], check=False, stdout=subprocess.DEVNULL
    )
    if done.returncode not in (0, 3):
        raise SystemExit(f"audit of {name} ended with {done.returncode}")
    found: Found = json.loads((out / "metrics.json").read_text())["audit"]
    shown = [Path(word).name if Path(word).is_absolute() else word for word in given]
    return ["clinnlp", "audit", *shown], found


def mtsamples() -> list[Row]:
    return [
        ("rows", lambda f: f["splits"]["train"]["notes"] + f["quarantined"], 4999, ""),
        ("rows without text, set aside", lambda f: f["quarantined"], 33, ""),
        ("distinct texts", lambda f: f["duplicates"]["verbatim"]["within"]["train"]["distinct"], 2357, ""),
        (
            "texts under several specialties",
            lambda f: f["conflicts"]["labels"]["texts"],
            2149,
            "one less: the missing text, which stands under several specialties too, is set aside first",
        ),
    ]


def mts_dialog() -> list[Row]:
    def splits(f: Found) -> list[int]:
        return [f["splits"][name]["notes"] for name in SPLITS]

    def rare(f: Found) -> int:
        return sum(count <= 5 for count in f["splits"]["train"]["labels"].values())

    return [
        ("notes of train, dev, test 1", splits, [1201, 100, 200], ""),
        ("section classes", lambda f: len(f["splits"]["train"]["labels"]), 20, ""),
        ("repeated notes in train", lambda f: f["duplicates"]["verbatim"]["within"]["train"]["repeated"], 130, ""),
        ("classes with at most 5 training notes", rare, 4, ""),
    ]


def chia(spans: int, scope: bool) -> list[Row]:
    def of(key: str) -> Callable[[Found], Any]:
        return lambda f: f["splits"]["train"]["structure"][key]

    rows: list[Row] = [
        ("files", lambda f: f["splits"]["train"]["notes"], 2000, ""),
        ("entities", lambda f: f["splits"]["train"]["spans"], spans, ""),
    ]
    if not scope:
        return rows
    pairs = (
        "audit compares spans by their outer bounds, pairs of equal bounds apart; the README does not say how it counts"
    )
    return [
        *rows,
        ("empty texts", lambda f: f["splits"]["train"]["empty"], 3, ""),
        ("files without entities", lambda f: f["splits"]["train"]["notes without spans"], 19, ""),
        ("discontinuous entities", of("discontinuous"), 1822, ""),
        ("repeated entities", of("repeated"), 29, ""),
        ("places with two labels", of("several labels"), 761, ""),
        ("nested pairs", of("nested pairs"), 21115, pairs),
        ("crossing pairs", of("crossing pairs"), 76, ""),
    ]


def compared(command: list[str], found: Found, rows: list[Row]) -> dict[str, Any]:
    figures = {}
    for what, where, expected, why in rows:
        value = where(found)
        figures[what] = {"audit": value, "expected": expected} | ({"why": why} if value != expected else {})
        if value != expected and not why:
            raise SystemExit(f"{what}: audit says {value}, the README {expected}")
    return {"command": " ".join(command), "figures": figures}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpora", type=Path)
    corpora = parser.parse_args().corpora.resolve()
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        notes = corpora / "mtsamples" / "mtsamples.jsonl"
        words = ("--data.train", notes, *MTSAMPLES, "--data.labels_field", "medical_specialty", "--noise_notes", 0)
        results["MTSamples"] = compared(*audited("mtsamples", folder, *words), mtsamples())

        files = {
            part: corpora / "mts_dialog" / "Main-Dataset" / f"MTS-Dialog-{file}.csv" for part, file in SPLITS.items()
        }
        named = [word for part, path in files.items() for word in (f"--data.{part}", path)]
        command, found = audited("mts_dialog", folder, *named, *MTS_DIALOG, "--pretraining", notes,
                                 *(f"--pretraining_format.{word[7:]}" if word[:7] == "--data." else word for word in
                                   MTSAMPLES))  # fmt: skip
        results["MTS-Dialog"] = compared(command, found, mts_dialog())
        results["MTS-Dialog"]["of MTSamples, as pretraining corpus"] = found["pretraining"]["splits"]

        for archive, spans in (("chia_with_scope", 48_870), ("chia_without_scope", 44_616)):
            with zipfile.ZipFile(corpora / "chia" / f"{archive}.zip") as packed:
                packed.extractall(folder / archive)
            command, found = audited(archive, folder, "--data.train", folder / archive, "--data.format", "brat",
                                     "--data.mismatches", "count", "--noise_notes", 0)  # fmt: skip
            results[archive] = compared(command, found, chia(spans, archive == "chia_with_scope"))
    cells.write("audit-corpora", results)


if __name__ == "__main__":
    main()
