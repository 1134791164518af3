"""Labeling speed beside transformers.pipeline with stride at its best batch size, on the same notes in one run.

    python benchmarks/labeling.py --model DIR --notes CORPORA/mtsamples/mtsamples.jsonl

The pipeline's batch size is chosen on the first 200 notes. Both take all notes and one process; clinnlp is timed with
and without its reuse of equal texts. Entities are compared note by note, as (start, end, label).
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

from clinnlp.core.document import Document
from clinnlp.formats.base import read
from clinnlp.formats.jsonl import Jsonl
from clinnlp.labeling.predict import predict
from clinnlp.models.load import load_trained

WINDOW, STRIDE = 512, 128


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--notes", required=True)
    parser.add_argument("--first", type=int, default=None, help="only the first N notes")
    parser.add_argument("--name", default="labeling-mtsamples")
    args = parser.parse_args()
    reader = Jsonl(id_field="note_id", text_field="transcription")
    bad: list[Any] = []
    notes = [d for d in read(args.notes, reader, bad) if d.text.strip()][: args.first]
    trained = load_trained(args.model)
    peer = peer_of(trained, args.model)

    texts = [note.text for note in notes]
    tried = {size: timed(lambda size=size: list(peer(texts[:200], batch_size=size)))[0] for size in (1, 4, 8)}
    best = min(tried, key=lambda size: tried[size])
    seconds = {}
    seconds["clinnlp"], ours = timed(lambda: list(predict(trained, notes)))
    again = distinct(notes)
    seconds["clinnlp, equal texts read again"], _ = timed(lambda: [list(predict(trained, part)) for part in again])
    seconds["pipeline"], theirs = timed(lambda: list(peer(texts, batch_size=best)))

    same = compare(ours, theirs)
    cells.write(args.name, {
        "notes": len(notes),
        "distinct_texts": len(set(texts)),
        "pipeline_batch_size": best,
        "pipeline_seconds_on_200": tried,
        "seconds": seconds,
        "notes_per_second": {name: len(notes) / value for name, value in seconds.items()},
        "ratio": {name: seconds["pipeline"] / value for name, value in seconds.items()},
        "entities": same,
    })  # fmt: skip


def distinct(notes: list[Document]) -> list[list[Document]]:
    """Chunks in which no text occurs twice, so that nothing is reused."""
    chunks: list[dict[str, Document]] = []
    for note in notes:
        for chunk in chunks:
            if note.text not in chunk and len(chunk) < 512:
                chunk[note.text] = note
                break
        else:
            chunks.append({note.text: note})
    return [list(chunk.values()) for chunk in chunks]


def peer_of(trained: Any, folder: Path) -> Any:
    """transformers.pipeline on the same merged weights."""
    merged = folder.parent / "merged-for-pipeline"
    trained.model.save_pretrained(merged)
    AutoTokenizer.from_pretrained(folder).save_pretrained(merged)
    tokenizer = AutoTokenizer.from_pretrained(merged, model_max_length=WINDOW)
    model = AutoModelForTokenClassification.from_pretrained(merged, dtype=torch.float32)
    return pipeline(
        "token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple", stride=STRIDE
    )


def compare(ours: list[Document], theirs: list[list[dict[str, Any]]]) -> dict[str, int]:
    """How many entities both found, and how many only one did."""
    counts = {"both": 0, "only clinnlp": 0, "only pipeline": 0}
    for document, entities in zip(ours, theirs, strict=True):
        mine = {(span.start, span.end, span.label) for span in document.spans}
        other = {(e["start"], e["end"], e["entity_group"]) for e in entities}
        counts["both"] += len(mine & other)
        counts["only clinnlp"] += len(mine - other)
        counts["only pipeline"] += len(other - mine)
    return counts


if __name__ == "__main__":
    main()
