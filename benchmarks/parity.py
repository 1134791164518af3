"""Are our scores those of seqeval, conlleval and nervaluate? The largest difference of any count or ratio.

    python benchmarks/parity.py CORPORA

On 200 random corpora of flat entities (`legal`), 200 random pairs of tag sequences with I where no B went before
(`illegal`), and the official test splits of four open corpora. Their predictions are those of a lookup tagger: the
longest run of words that train holds as an entity, lower-cased, under its most frequent label. Entities of all labels,
micro, macro and weighted averages are compared. nervaluate's `type` is left out where a span overlaps two of the other
side, the one place where its answer depends on order (docs/metrics.md lists all differences; each is a test in
tests/evaluation/test_scorers*.py). The other scorers' code is in tests/evaluation/oracles.py.
"""

import argparse
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cells

sys.path.insert(0, str(Path(__file__).parents[1]))

from clinnlp.core.scorers import CountScores, MatchScores
from clinnlp.evaluation.entity import evaluate_spans
from clinnlp.evaluation.scorers import lenient
from tests.evaluation.flat import TokenSpan, disturb, documents, flat_corpus, tags
from tests.evaluation.oracles import conlleval, nervaluate, nervaluate_differences, seqeval_differences

CORPORA = {
    "NCBI-disease": ("mtl_bio/NCBI-disease-IOB/train.tsv", "mtl_bio/NCBI-disease-IOB/test.tsv"),
    "BC5CDR": ("mtl_bio/BC5CDR-IOB/train.tsv", "mtl_bio/BC5CDR-IOB/test.tsv"),
    "Epi4GARD": ("epi4gard/EpiCustomV3/train.tsv", "epi4gard/EpiCustomV3/test.tsv"),
    "WNUT17": ("general_wnut17/wnut17train.conll", "general_wnut17/emerging.test.annotated"),
}
LONGEST = 10  # words of an entity that the tagger looks for
SEMEVAL = {"strict": "strict", "exact": "exact", "partial": "partial", "type": "ent_type"}

Corpus = tuple[list[int], list[list[TokenSpan]], list[list[TokenSpan]]]  # lengths, gold, predicted
Sentence = tuple[list[str], list[TokenSpan]]


def sentences(path: Path) -> list[Sentence]:
    """The words and entities of a CoNLL file; an I that continues nothing begins an entity."""
    found: list[Sentence] = []
    words: list[str] = []
    spans: list[TokenSpan] = []
    before = "O"
    for line in [*path.read_text(encoding="utf-8").split("\n"), ""]:
        if not line.strip():
            if words:
                found.append((words, spans))
            words, spans, before = [], [], "O"
            continue
        word, tag = line.split("\t")[0], line.split("\t")[-1].strip()
        here, label = len(words), tag[2:] or "Disease"
        if tag[0] == "I" and before != "O" and spans[-1][2] == label:
            spans[-1] = (spans[-1][0], here + 1, label)
        elif tag[0] in "BI":
            spans.append((here, here + 1, label))
        words.append(word.lower())
        before = tag
    return found


def looked_up(train: list[Sentence], test: list[Sentence]) -> Corpus:
    """Gold of test, and what a tagger that knows the entities of train by heart makes of it."""
    known: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for words, spans in train:
        for start, end, label in spans:
            known[tuple(words[start:end])][label] += 1
    best = {form: max(sorted(labels), key=labels.__getitem__) for form, labels in known.items()}
    predicted = []
    for words, _ in test:
        said: list[TokenSpan] = []
        place = 0
        while place < len(words):
            forms = ((n, tuple(words[place : place + n])) for n in range(min(LONGEST, len(words) - place), 0, -1))
            length, label = next(((n, best[form]) for n, form in forms if form in best), (1, None))
            if label is not None:
                said.append((place, place + length, label))
            place += length
        predicted.append(said)
    return [len(words) for words, _ in test], [spans for _, spans in test], predicted


def measured(corpus: Corpus) -> dict[str, Any]:
    """Our figures of one corpus and the largest difference from each of the others."""
    lengths, gold, predicted = corpus
    report = evaluate_spans(documents(lengths, gold), documents(lengths, predicted), resamples=2)
    marks, inside = both_tags(corpus, "B-"), both_tags(corpus, "I-")
    chunks, of_tags = report.scorers["lenient"], lenient(*marks)
    assert isinstance(chunks, CountScores)
    labels = sorted(report.strict.per_label)
    kept = [number for number in range(len(lengths)) if simple(gold[number], predicted[number])]
    some = [[side[number] for number in kept] for side in corpus]
    return {
        "entities": report.gold.total,
        "predicted": report.predicted.total,
        "f1": {name: report.scorers[name].micro.f1 for name in ("strict", "partial", "lenient")},
        "largest difference": {
            "strict, seqeval strict": max(seqeval_differences(report.strict, *marks, strict=True)),
            "lenient of tags, seqeval default": max(seqeval_differences(of_tags, *marks, strict=False)),
            "lenient of tags, conlleval": counted(of_tags.per_label, conlleval(*marks)),
            "lenient of documents, seqeval default on IO tags": max(
                seqeval_differences(chunks.counts, *inside, strict=False)
            ),
            "lenient of documents, conlleval on IO tags": counted(chunks.per_label, conlleval(*inside)),
            **from_nervaluate(corpus, labels, ("strict", "exact", "partial")),
            **(from_nervaluate(some, labels, ("type",)) if kept else {}),
        },
        "sentences whose type is compared": len(kept),
        "sentences": len(lengths),
    }


def from_nervaluate(corpus: Any, labels: list[str], names: Iterable[str]) -> dict[str, float]:
    lengths, gold, predicted = corpus
    scorers = evaluate_spans(documents(lengths, gold), documents(lengths, predicted), labels, resamples=2).scorers
    theirs = nervaluate(gold, predicted, labels)
    found = {}
    for name in names:
        ours, other = scorers[name], SEMEVAL[name]
        assert isinstance(ours, MatchScores)
        pairs = [(ours.micro, theirs["overall"][other])]
        pairs += [(ours.per_label[label], row[other]) for label, row in theirs["entities"].items()]
        found[f"{name}, nervaluate"] = max(max(nervaluate_differences(*pair)) for pair in pairs)
    return found


def simple(gold: list[TokenSpan], predicted: list[TokenSpan]) -> bool:
    """No span overlaps two of the other side."""
    meets = [(g, p) for g in gold for p in predicted if g[0] < p[1] and p[0] < g[1]]
    return all(most < 2 for side in (0, 1) for most in Counter(pair[side] for pair in meets).values())


def both_tags(corpus: Corpus, begin: str) -> list[list[list[str]]]:
    lengths, *sides = corpus
    made = [[tags(spans, length) for spans, length in zip(side, lengths, strict=True)] for side in sides]
    return [[[tag.replace("B-", begin) for tag in sentence] for sentence in side] for side in made]


def counted(ours: Any, theirs: dict[str, Any]) -> float:
    """The largest difference of a count."""
    assert set(theirs) <= set(ours)
    sides = ((ours[label], theirs[label]) for label in theirs)
    return float(max((abs(a.tp - b.tp) + abs(a.fp - b.fp) + abs(a.fn - b.fn) for a, b in sides), default=0))


def illegal(seed: int) -> list[list[list[str]]]:
    """Two sides of random tags, many of which begin an entity with I."""
    draw = random.Random(seed)
    labels = ["A", "B", "C-D"][: draw.randint(1, 3)]
    made = [["O", *(f"{prefix}-{label}" for prefix in "BI" for label in labels)] for _ in range(draw.randint(1, 6))]
    gold = [draw.choices(choice, k=draw.randint(1, 20)) for choice in made]
    marks = made[0]
    return [gold, [[tag if draw.random() < 0.6 else draw.choice(marks) for tag in sentence] for sentence in gold]]


def largest(found: Iterable[dict[str, float]]) -> dict[str, float]:
    most: dict[str, float] = {}
    for one in found:
        for name, value in one.items():
            most[name] = max(most.get(name, 0.0), value)
    return most


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpora", type=Path)
    folder = parser.parse_args().corpora
    rows: dict[str, Any] = {
        "200 random corpora, legal": {
            "largest difference": largest(measured(flat_corpus(seed))["largest difference"] for seed in range(200))
        }
    }
    pairs = [illegal(seed) for seed in range(200)]
    read = [(lenient(*pair), pair) for pair in pairs]
    rows["200 random tag sets, illegal"] = {
        "largest difference": {
            "lenient of tags, seqeval default": max(
                max(seqeval_differences(score, *pair, strict=False), default=0.0) for score, pair in read
            ),
            "lenient of tags, conlleval": max(counted(s.per_label, conlleval(*p)) for s, p in read),
        }
    }
    for name, (train, test) in CORPORA.items():
        corpus = looked_up(sentences(folder / train), sentences(folder / test))
        rows[name] = measured(corpus)
        draw = random.Random(1)
        labels = sorted({label for spans in corpus[1] for _, _, label in spans})
        disturbed = [disturb(draw, spans, [*labels, "Other"]) for spans in corpus[1]]
        rows[f"{name}, gold disturbed"] = measured((corpus[0], corpus[1], disturbed))
    for name, row in rows.items():
        print(f"{name}: {max(row['largest difference'].values()):.1e}")
    cells.write("parity", {"largest difference of all": max(
        value for row in rows.values() for value in row["largest difference"].values()), "data": rows})  # fmt: skip


if __name__ == "__main__":
    main()
