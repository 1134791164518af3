"""For reference: edsnlp reading the same notes with the encoder of the same model, in an environment of its own.

    python -m venv eds && eds/bin/pip install 'edsnlp[ml]'
    eds/bin/python benchmarks/labeling_edsnlp.py --model runs/tagger/model --notes MTSAMPLES.jsonl --first 60

Its tagger (`eds.ner_crf` without a chain) over `eds.transformer` with windows of 512 that overlap by 128. The head has
random weights, since edsnlp reads no token-classification folder, so only the time means something. Processor seconds
with one thread, the best of some batch sizes, from notes to documents in memory; `benchmarks/labeling.py` measures the
same notes and model with clinnlp and transformers.pipeline.
"""

import argparse
import json
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import edsnlp
import edsnlp.pipes
import torch
from spacy.tokens import Span

WINDOW, OVERLAP, SPECIALS = 512, 128, 2
BATCHES = (("docs", 1), ("docs", 4), ("docs", 16), ("words", 4096))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--notes", type=Path, required=True)
    parser.add_argument("--first", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--labels", nargs="+", default=["Disease"])
    parser.add_argument("--name", default="labeling-edsnlp")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with args.notes.open(encoding="utf-8") as lines:
        texts = list(dict.fromkeys(text for line in lines if (text := json.loads(line)["transcription"] or "").strip()))
    notes = texts[: args.first]
    nlp = pipeline(args.model, notes[0][:200], args.labels)
    found: dict[str, Any] = {}
    for precision, autocast in (("fp32", False), ("bf16", torch.bfloat16)):
        seconds = {f"{count} {unit}": timed(nlp, notes, unit, count, autocast, args.rounds) for unit, count in BATCHES}
        best = min(seconds, key=lambda batch: statistics.median(seconds[batch]))
        speed = len(notes) / statistics.median(seconds[best])
        found[precision] = {"batch": best, "notes_per_second": speed, "seconds": seconds}
    command = " ".join(["python", *(Path(word).name if Path(word).is_absolute() else word for word in sys.argv)])
    libraries = {name: version(name) for name in ("edsnlp", "torch", "transformers")}
    result = {"command": command, "libraries": libraries, "notes": len(notes), **found}
    path = Path(__file__).parent / "results" / f"{args.name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def pipeline(model: Path, text: str, labels: list[str]) -> Any:
    """A tagger over the encoder of a model folder; a marked text tells it the labels."""
    nlp = edsnlp.blank("eds")
    room = WINDOW - SPECIALS
    encoder = edsnlp.pipes.transformer(model=str(model), window=room, stride=room - OVERLAP)
    tagger = edsnlp.pipes.ner_crf(mode="independent", target_span_getter="gold", span_setter="ents", embedding=encoder)
    nlp.add_pipe(tagger, name="ner")
    marked = nlp.make_doc(text)
    marked.spans["gold"] = [Span(marked, place, place + 1, label=label) for place, label in enumerate(labels)]
    nlp.post_init([marked])
    nlp.train(False)
    return nlp


def timed(nlp: Any, notes: list[str], unit: str, count: int, autocast: Any, rounds: int) -> list[float]:
    """Processor seconds of each round with batches of so many documents or words."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        stream = edsnlp.data.from_iterable(notes, converter=nlp.make_doc).map_pipeline(nlp)
        stream = stream.set_processing(batch_size=count, batch_by=unit, autocast=autocast, show_progress=False)
        for _ in stream:
            pass
        seconds.append(time.process_time() - start)
    return seconds


if __name__ == "__main__":
    main()
