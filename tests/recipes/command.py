"""Commands run in this process, and the small notes that they read."""

import json
import logging
import os
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from clinnlp import cli

FAST = ("--fit.precision", "fp32", "--fit.device", "cpu", "--fit.batch", "8")
DRUGS, PROBLEMS = ("aspirin", "metformin", "lisinopril"), ("fever", "cough", "chest pain", "nausea")


def clinnlp(*words: object) -> int:
    """Run a command as the shell would; returns its exit status."""
    logging.getLogger("clinnlp").handlers.clear()  # a handler of an earlier test writes to that test's stderr
    mask = os.umask(0o077)
    try:
        return cli.main([str(word) for word in words])
    finally:
        os.umask(mask)


def notes(count: int, name: str) -> list[dict[str, Any]]:
    """Notes from a few frames, with spans, one note type each and any number of labels."""
    draw = random.Random(name)
    made = []
    for number in range(count):
        drug, problem = draw.choice(DRUGS), draw.choice(PROBLEMS)
        kind = draw.choice(("plan", "visit"))
        before, between = ("Plan: started on ", " for ") if kind == "plan" else ("patient presents on ", " with ")
        text = f"{before}{drug}{between}{problem}\r\nfollow up in 2 weeks"
        start, second = len(before), len(before) + len(drug) + len(between)
        made.append(
            {
                "id": f"{name}-{number}",
                "text": text,
                "spans": [
                    {"start": start, "end": start + len(drug), "label": "DRUG"},
                    {"start": second, "end": second + len(problem), "label": "PROBLEM"},
                ],
                "labels": [word for word in ("fever", "aspirin") if word in text],
                "note_type": kind,
                "group": f"{name}-{number // 2}",
            }
        )
    return made


def write_jsonl(path: Path, records: Iterable[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
