"""Labeling speed beside transformers.pipeline with stride at its best batch size, on the same notes in one run.

    clinnlp finetune ... --task.trained_tokens all --strategy full --out runs/tagger
    python benchmarks/labeling.py --model runs/tagger/model --notes CORPORA/mtsamples/mtsamples.jsonl

The model is trained on every token of a word, since the pipeline's simple aggregation reads every token. Its batch
size is chosen on the first 200 notes. clinnlp is timed from notes to Parquet files on disk, the pipeline to its list of
entities: over the distinct texts, and over all notes. clinnlp reads equal texts once, so it is run once, over all
notes, and that time stands beside both. Times are processor seconds with one thread. Entities are compared note by
note, as (start, end, label).
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

from clinnlp.core.document import Document
from clinnlp.formats.base import read
from clinnlp.formats.jsonl import Jsonl
from clinnlp.labeling.engine import open_run
from clinnlp.labeling.model import Loaded
from clinnlp.labeling.options import Options
from clinnlp.labeling.output import read_labels
from clinnlp.labeling.predict import BATCH_TOKENS
from clinnlp.labeling.source import InMemory
from clinnlp.models.load import load_trained

WINDOW, STRIDE = 512, 128


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


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
    once = list(dict.fromkeys(texts))
    again = list((Counter(texts) - Counter(once)).elements())
    seconds, ours = timed(lambda: labeled(trained, notes))
    first, answers = timed(lambda: list(peer(once, batch_size=best)))
    rest, _ = timed(lambda: list(peer(again, batch_size=best)))
    theirs = dict(zip(once, answers, strict=True))

    cells.write(args.name, {
        "notes": len(notes),
        "distinct_texts": len(once),
        "pipeline_batch_size": best,
        "pipeline_cpu_seconds_on_200": tried,
        "cpu_seconds": {"clinnlp": seconds, "pipeline": first + rest, "pipeline, distinct texts": first},
        "notes_per_second": {"clinnlp": len(notes) / seconds, "pipeline": len(notes) / (first + rest)},
        "ratio": {"all notes": (first + rest) / seconds, "distinct texts": first / seconds},
        "entities": compare(ours, notes, theirs),
    })  # fmt: skip


def labeled(trained: Any, notes: list[Document]) -> dict[str, set[tuple[int, int, str]]]:
    """The entities of each note by id, read back from the files that labeling wrote."""
    with tempfile.TemporaryDirectory() as folder:
        options = Options(workers=0, batch_tokens=BATCH_TOKENS)
        with open_run(Path(folder), InMemory(notes), Loaded(trained), {}, options) as run:
            for _ in run.label():
                pass
            run.finish()
        found: dict[str, set[tuple[int, int, str]]] = {note.id: set() for note in notes}
        for row in read_labels(folder).spans.itertuples():
            found[row.document_id].add((row.start, row.end, row.label))
    return found


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


def compare(
    ours: dict[str, set[tuple[int, int, str]]], notes: list[Document], theirs: dict[str, list[dict[str, Any]]]
) -> dict[str, int]:
    """How many entities both found, and how many only one did."""
    counts = {"both": 0, "only clinnlp": 0, "only pipeline": 0}
    for note in notes:
        mine = ours[note.id]
        other = {(e["start"], e["end"], e["entity_group"]) for e in theirs[note.text]}
        counts["both"] += len(mine & other)
        counts["only clinnlp"] += len(mine - other)
        counts["only pipeline"] += len(other - mine)
    return counts


if __name__ == "__main__":
    main()
