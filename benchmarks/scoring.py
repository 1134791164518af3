"""Scoring predicted entities beside seqeval and nervaluate, on the same notes in the same run.

    python benchmarks/scoring.py
    python benchmarks/scoring.py --notes 2000

Each note has 20 gold entities of five labels in about 120 words; a quarter of the predictions differ. clinnlp reads
documents, the others their IOB2 tags; making either is not timed. Times are processor seconds of one run each, at the
full size and at a tenth of it; `--nervaluate tenth` leaves the slowest of them out at the full size.
"""

import argparse
import random
import time
from collections.abc import Callable
from typing import Any

import cells

from clinnlp.core.document import Document, Span
from clinnlp.evaluation.entity import count_spans, evaluate_spans, report_spans
from clinnlp.evaluation.pairing import pair

LABELS = ["PROBLEM", "TEST", "TREATMENT", "DRUG", "ANATOMY"]
WORDS = [
    "no",
    "acute",
    "pain",
    "chest",
    "patient",
    "denies",
    "aspirin",
    "daily",
    "left",
    "atrial",
    "fibrillation",
    "mg",
]
ENTITIES = 20

Entities = list[tuple[int, int, str]]  # first word, word after the last, label


def entities(rng: random.Random) -> Entities:
    found, word = [], 0
    for _ in range(ENTITIES):
        first = word + rng.randint(0, 8)
        word = first + rng.randint(1, 3)
        found.append((first, word, rng.choice(LABELS)))
    return found


def said(rng: random.Random, gold: Entities) -> Entities:
    """Some are missed, shortened, relabelled or lengthened by a word where there is room."""
    found: Entities = []
    for number, (first, end, label) in enumerate(gold):
        fate = rng.random()
        if fate < 0.05:
            continue
        if fate < 0.15 and end - first > 1:
            end -= 1
        elif fate < 0.2:
            label = rng.choice(LABELS)
        elif fate < 0.25 and (number + 1 == len(gold) or gold[number + 1][0] > end):
            end += 1
        found.append((first, end, label))
    return found


def tags(spans: Entities, words: int) -> list[str]:
    found = ["O"] * words
    for first, end, label in spans:
        found[first] = f"B-{label}"
        found[first + 1 : end] = [f"I-{label}"] * (end - first - 1)
    return found


def data(notes: int) -> tuple[list[Document], list[Document], list[list[str]], list[list[str]]]:
    """Gold and predicted documents, gold and predicted tags."""
    rng = random.Random(13)
    golds, predictions, gold_tags, predicted_tags = [], [], [], []
    for number in range(notes):
        gold = entities(rng)
        predicted = said(rng, gold)
        words = rng.choices(WORDS, k=gold[-1][1] + rng.randint(1, 20))
        starts = [0]
        for word in words:
            starts.append(starts[-1] + len(word) + 1)
        text, name, group = " ".join(words), str(number), str(number // 3)
        ours, theirs = (
            tuple(Span(starts[first], starts[end] - 1, label, rng.random()) for first, end, label in spans)
            for spans in (gold, predicted)
        )
        golds.append(Document(name, text, ours, group=group))
        predictions.append(Document(name, text, theirs))
        gold_tags.append(tags(gold, len(words)))
        predicted_tags.append(tags(predicted, len(words)))
    return golds, predictions, gold_tags, predicted_tags


def timed(job: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    result = job()
    return result, round(time.process_time() - began, 3)


def measure(notes: int, resamples: int, nervaluate: bool) -> dict[str, Any]:
    from nervaluate.evaluator import Evaluator
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support as default
    from seqeval.metrics.v1 import precision_recall_fscore_support as strict
    from seqeval.scheme import IOB2

    golds, predictions, gold_tags, predicted_tags = data(notes)
    evaluate_spans(golds[:10], predictions[:10], resamples=10)  # imports are not timed
    seconds: dict[str, float] = {}
    counts, seconds["clinnlp strict"] = timed(lambda: count_spans(pair(golds, predictions)))
    _, seconds["clinnlp bootstrap"] = timed(lambda: report_spans(counts, resamples=resamples))
    alone, seconds["clinnlp all scorers"] = timed(lambda: evaluate_spans(golds, predictions, resamples=2))
    micro = alone.strict.micro
    figures = {"clinnlp strict": micro.f1, "clinnlp lenient": alone.scorers["lenient"].micro.f1}
    figures["clinnlp partial"] = alone.scorers["partial"].micro.f1
    scores, seconds["seqeval strict"] = timed(
        lambda: strict(gold_tags, predicted_tags, average="micro", scheme=IOB2, zero_division=0)
    )
    figures["seqeval strict"] = float(scores[2])
    scores, seconds["seqeval default"] = timed(
        lambda: default(gold_tags, predicted_tags, average="micro", zero_division=0)
    )
    figures["seqeval default"] = float(scores[2])
    if nervaluate:
        results, seconds["nervaluate, four scorers"] = timed(
            lambda: Evaluator(gold_tags, predicted_tags, tags=LABELS, loader="list").evaluate()["overall"]
        )
        figures |= {f"nervaluate {name}": results[name].f1 for name in ("strict", "partial")}
    times = {name: round(spent / seconds["clinnlp strict"], 1) for name, spent in seconds.items() if name[:3] != "cli"}
    return {
        "notes": notes,
        "gold entities": micro.support,
        "predicted entities": micro.predicted,
        "words": sum(map(len, gold_tags)),
        "resamples": resamples,
        "processor seconds": seconds,
        "times clinnlp strict": times,
        "times clinnlp all scorers, seqeval strict": round(
            seconds["seqeval strict"] / seconds["clinnlp all scorers"], 1
        ),
        "f1": figures,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--notes", type=int, default=100_000)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--nervaluate", choices=("all", "tenth", "never"), default="all")
    args = parser.parse_args()
    sizes = {
        "a tenth": measure(args.notes // 10, args.resamples, args.nervaluate != "never"),
        "all": measure(args.notes, args.resamples, args.nervaluate == "all"),
    }
    whole, part = (sizes[name]["processor seconds"] for name in ("all", "a tenth"))
    growth = {name: round(whole[name] / part[name], 1) if part[name] else None for name in whole}
    cells.write(f"scoring-{args.notes}", {**sizes, "times as long for ten times the notes": growth})


if __name__ == "__main__":
    main()
