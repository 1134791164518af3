"""Labeling speed of every engine beside transformers.pipeline with stride at its best batch size, on the same notes.

    clinnlp finetune ... --task.trained_tokens all --strategy full --out runs/tagger
    python benchmarks/labeling.py --model runs/tagger/model --notes CORPORA/mtsamples/mtsamples.jsonl --first 200

The model is trained on every token of a word, since the pipeline's simple aggregation reads every token. clinnlp is
timed from notes to Parquet files on disk, the pipeline to its list of entities. Times are processor seconds with one
thread; all are run in turn, `--pairs` times over the first distinct notes, and ratios are medians over the pairs.
`--whole` adds one pass over all notes, copies included, of the fastest engine that keeps the spans and of the pipeline.
The peaks of matrix products are measured in the same run; a share of peak counts all products of the rows that were
read. Entities are compared note by note, as (start, end, label): as each side reads them, and as the pipeline reads
what an engine answers to the pipeline's own windows, which leaves only what the engine computes.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cells
import labeling_peer
import numpy as np
import torch

from clinnlp.core.document import Document
from clinnlp.engines.base import engine_named
from clinnlp.errors import ConfigError
from clinnlp.formats.base import read
from clinnlp.formats.jsonl import Jsonl
from clinnlp.labeling.choose import CANDIDATES, REFERENCE
from clinnlp.labeling.engine import open_run
from clinnlp.labeling.model import Loaded
from clinnlp.labeling.options import Options
from clinnlp.labeling.output import read_labels
from clinnlp.labeling.predict import BATCH_TOKENS
from clinnlp.labeling.source import InMemory
from clinnlp.models.load import load_trained

Entities = dict[str, set[tuple[int, int, str]]]


class Watched:
    """A runner that counts its processor seconds, its rows and the tags they got."""

    def __init__(self, run: Any) -> None:
        self.run, self.seconds = run, 0.0
        self.lengths: list[int] = []
        self.tags: list[Any] = []

    def __call__(self, rows: Any, budget: int) -> Any:
        start = time.process_time()
        answers = self.run(rows, budget)
        self.seconds += time.process_time() - start
        self.lengths += [len(row) for row in rows]
        self.tags += [answer.argmax(-1) for answer in answers]
        return answers

    def fresh(self) -> "Watched":
        """The same runner, with nothing counted."""
        return Watched(self.run)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--notes", required=True)
    parser.add_argument("--first", type=int, default=200, help="distinct notes that are read in turn")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--engines", default=",".join((REFERENCE, *CANDIDATES)))
    parser.add_argument("--whole", action="store_true", help="one pass over all notes too")
    parser.add_argument("--name", default="labeling-mtsamples")
    args = parser.parse_args()
    torch.set_num_threads(1)
    reader = Jsonl(id_field="note_id", text_field="transcription")
    bad: list[Any] = []
    every = [d for d in read(args.notes, reader, bad) if d.text.strip()]
    notes = list({note.text: note for note in every}.values())[: args.first]
    trained = load_trained(args.model)
    peer = labeling_peer.Peer(trained, args.model)
    peer.choose_batch([note.text for note in notes[:20]])

    runners, left_out = engines_of(trained, args.engines.split(","))
    seconds: dict[str, list[float]] = {name: [] for name in (*runners, "pipeline")}
    watched: dict[str, list[Watched]] = {name: [] for name in runners}
    entities: dict[str, Entities] = {}
    for run in runners.values():  # imports, and kernels that are made when they are first needed
        labeled(replace(trained, runner=run), notes[:5])
    for _ in range(args.pairs):
        for name, run in runners.items():
            watch = run.fresh()
            took, entities[name] = timed(lambda watch=watch: labeled(replace(trained, runner=watch), notes))
            seconds[name].append(took)
            watched[name].append(watch)
        took, entities["pipeline"] = timed(lambda: peer.entities(notes))
        seconds["pipeline"].append(took)

    tokens = sum(len(t) for t in trained.tokenizer.encode_many([note.text for note in notes]))
    encoding = [timed(lambda: trained.tokenizer.encode_many([note.text for note in notes]))[0] for _ in range(5)]
    facts = {
        "notes": len(notes),
        "tokens": tokens,
        "pipeline": peer.facts(),
        "left_out": left_out,
        "gemm_peak_gflops": peaks(),
        "tokenization_seconds": statistics.median(encoding),
        "seconds": {name: [round(value, 2) for value in values] for name, values in seconds.items()},
    }
    names = list(seconds)
    facts["engines"] = {
        name: row(name, seconds, watched, facts, trained.model) | told(name, entities, watched, notes) for name in names
    }
    for name, run in runners.items():
        same = labeling_peer.counts(peer.reading(run.run, notes, BATCH_TOKENS), entities["pipeline"])
        facts["engines"][name]["entities_read_as_the_pipeline_reads"] = labeling_peer.named(same)
    if args.whole:
        kept = [name for name in runners if facts["engines"][name]["span_f1_with_fp32"] >= 0.99]
        best = max(kept, key=lambda name: facts["engines"][name]["tokens_per_second"])
        ours, _ = timed(lambda: labeled(replace(trained, runner=runners[best]), every))
        theirs, _ = timed(lambda: peer.entities(every))
        facts["whole"] = {
            "notes": len(every),
            "engine": best,
            "notes_per_second": {best: len(every) / ours, "pipeline": len(every) / theirs},
            "ratio": theirs / ours,
        }
    cells.write(args.name, facts)


def engines_of(trained: Any, names: list[str]) -> tuple[dict[str, Watched], dict[str, str]]:
    """A runner of each engine that runs the model here, and why the others do not."""
    found, left_out = {}, {}
    for name in names:
        try:
            found[name] = Watched(engine_named(name).runner(trained))
        except ConfigError as error:
            left_out[name] = error.what
    return found, left_out


def row(
    name: str, seconds: dict[str, list[float]], watched: dict[str, list[Watched]], facts: dict[str, Any], model: Any
) -> dict[str, float]:
    """The speed of one engine, and where its time went."""
    took = statistics.median(seconds[name])
    found = {
        "notes_per_second": facts["notes"] / took,
        "tokens_per_second": facts["tokens"] / took,
        "times_the_pipeline": statistics.median(
            theirs / ours for ours, theirs in zip(seconds[name], seconds["pipeline"], strict=True)
        ),
    }
    if name not in watched:
        return found
    forward = statistics.median(watch.seconds for watch in watched[name])
    work = products(model, watched[name][0].lengths) / forward / 1e9
    # int8 engines multiply in int8, but attention and the head in fp32
    peak = facts["gemm_peak_gflops"][name.rsplit("-", 1)[1]]
    return found | {
        "gflops_per_second": work,
        "share_of_peak": work / peak,
        "share_of_time_in_the_model": forward / took,
        "share_of_time_in_tokenization": facts["tokenization_seconds"] / took,
        "share_of_time_in_decoding_and_writing": 1 - (forward + facts["tokenization_seconds"]) / took,
    }


def told(
    name: str, entities: dict[str, Entities], watched: dict[str, list[Watched]], notes: list[Document]
) -> dict[str, Any]:
    """How far an engine says what torch in fp32 and what the pipeline says."""
    if name not in watched:
        return {}
    both, ours, theirs = labeling_peer.counts(entities[name], entities[REFERENCE])
    pairs = zip(watched[name][0].tags, watched[REFERENCE][0].tags, strict=True)
    changed = np.concatenate([a != b for a, b in pairs]).mean()
    return {
        "span_f1_with_fp32": 2 * both / (2 * both + ours + theirs) if both + ours + theirs else float("nan"),
        "token_labels_changed": float(changed),
        "entities": labeling_peer.compare(entities[name], entities["pipeline"], notes),
    }


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def labeled(trained: Any, notes: list[Document]) -> Entities:
    """The entities of each note by id, read back from the files that labeling wrote."""
    with tempfile.TemporaryDirectory() as folder:
        options = Options(workers=0, batch_tokens=BATCH_TOKENS)
        with open_run(Path(folder), InMemory(notes), Loaded(trained), {}, options) as run:
            for _ in run.label():
                pass
            run.finish()
        found: Entities = {note.id: set() for note in notes}
        for span in read_labels(folder).spans.itertuples():
            found[span.document_id].add((span.start, span.end, span.label))
    return found


def products(model: Any, lengths: list[int]) -> float:
    """Floating point operations of all matrix products over rows of these lengths."""
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    attention = 4 * model.config.hidden_size * model.config.num_hidden_layers  # per pair of tokens
    return float(sum(2 * linear * length + attention * length**2 for length in lengths))


def peaks() -> dict[str, float]:
    """GFLOP/s of the fastest product of matrices, of some shapes, by number format."""
    found = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("int8", torch.int8)):
        multiply: Callable[[Any, Any], Any] = torch._int_mm if dtype is torch.int8 else torch.mm
        speeds = []
        for m, k, n in ((2048, 2048, 2048), (2048, 384, 1536), (2048, 768, 3072)):
            a, b = torch.ones(m, k, dtype=dtype), torch.ones(k, n, dtype=dtype)
            took = min(timed(lambda a=a, b=b, multiply=multiply: multiply(a, b))[0] for _ in range(8))
            speeds.append(2 * m * k * n / took / 1e9)
        found[name] = max(speeds)
    return found


if __name__ == "__main__":
    main()
