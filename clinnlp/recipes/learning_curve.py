"""`clinnlp learning_curve`: the score over the number of training notes, and what the next point costs."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from statistics import fmean

from clinnlp.core.document import Document
from clinnlp.core.run import write_json
from clinnlp.errors import QUARANTINED, ConfigError, DataError
from clinnlp.recipes import finetune
from clinnlp.recipes._data import load_splits, write_quarantine
from clinnlp.recipes._output import start_run
from clinnlp.recipes._scores import provenance
from clinnlp.recipes._units import Unit
from clinnlp.text.splits import group_key

log = logging.getLogger("clinnlp")


@dataclass(frozen=True)
class LearningCurve(finetune.Finetune):
    """Fine-tune on 10, 25, 50 ... training notes and score each on test; a stopped run goes on where it ended."""

    sizes: tuple[int, ...] = (10, 25, 50, 100, 250)
    """Numbers of training notes, whole patients until the number is reached; larger ones than there are are left
    out, all notes are always tried."""
    repeats: int = 3
    """Subsets of each size, each with its own seed; the smaller lie in the larger ones. One with the notes of a smaller
    one of its seed is not trained on again."""
    keep_models: bool = False
    """Keep every model; reports and predictions are always kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sizes or min(self.sizes) < 1:
            raise ConfigError("sizes must be 1 or more", where="sizes")
        if self.repeats < 1:
            raise ConfigError("must be 1 or more", where="repeats")


def run(settings: LearningCurve) -> int:
    """Measure the curve; returns the exit status."""
    # 1. documents
    splits = load_splits(settings.data)
    if not splits.test:
        raise DataError("there are no test notes", next="give --data.test PATH or --data.test_share 0.2")
    if not any(list(settings.task.gold_labels(document)) for document in splits.test):
        raise DataError("the test notes hold nothing to find: there is no score to measure", where="data.test")
    run = start_run("learning_curve", settings, settings.out, settings.seed)
    run.pin("data", splits.hashes(settings.data))
    write_quarantine(run.folder, splits.quarantined)

    # 2. every size and repeat by itself
    measured: dict[int, list[tuple[int, float]]] = {}
    waived = dict.fromkeys(splits.waived)
    for size, repeat, train in _subsets(settings, splits.train):
        seed = settings.seed + repeat - 1
        unit = Unit(run, f"notes-{size:06d}-repeat-{repeat}", settings, seed, settings.keep_models)
        unit.finish(train, splits.dev, splits.test, waived=splits.waived)
        waived |= dict.fromkeys(unit.waived)
        if (score := unit.score) is not None:
            measured.setdefault(size, []).append((len(train), score))
        log.info("%d notes, repeat %d: %s %s", len(train), repeat, settings.task.dev_score, score)

    # 3. the curve
    from clinnlp.evaluation.learning import learning_curve
    from clinnlp.evaluation.learning_page import write_curve
    from clinnlp.evaluation.page import Surroundings

    curve = learning_curve(_by_notes(measured), settings.seed)
    above = {"waived": [*waived]} if waived else {}
    values = {"format_version": 1, **above, "score": settings.task.dev_score, **curve.as_dict()}
    write_json(run.folder / "metrics.json", values)
    facts = {"base": settings.origin, "strategy": type(settings.strategy).__name__, "test notes": len(splits.test)}
    known, shown = provenance(run)
    around = Surroundings({**{name: str(value) for name, value in facts.items()}, **known}, shown, [*waived])
    write_curve(run.folder, curve, settings.task.dev_score, around)
    run.finish(facts)
    log.info("%s", (run.folder / "report.txt").read_text(encoding="utf-8"))
    return QUARANTINED if splits.quarantined else 0


def _subsets(settings: LearningCurve, documents: list[Document]) -> Iterator[tuple[int, int, list[Document]]]:
    """Each size and repeat with its notes, but those that a smaller size of the same repeat has too."""
    largest = [0] * settings.repeats
    for size in [*(n for n in sorted(set(settings.sizes)) if n < len(documents)), len(documents)]:
        for repeat in range(1, settings.repeats + 1):
            train = subset(documents, size, settings.seed + repeat - 1)
            if len(train) == largest[repeat - 1]:  # subsets of one seed lie in each other
                told = "size %d, repeat %d: the same %d notes as of a smaller size, not trained on again"
                log.info(told, size, repeat, len(train))
                continue
            largest[repeat - 1] = len(train)
            yield size, repeat, train


def _by_notes(measured: Mapping[int, Sequence[tuple[int, float]]]) -> dict[int, list[float]]:
    """Scores by the mean number of notes that the subsets of a size hold: whole patients make more than was asked."""
    found: dict[int, list[float]] = {}
    for repeats in measured.values():
        found.setdefault(round(fmean(notes for notes, _ in repeats)), []).extend(score for _, score in repeats)
    return found


def subset(documents: list[Document], size: int, seed: int) -> list[Document]:
    """About `size` documents: whole groups in an order of the seed, until the number is reached; in given order.

    The subsets of one seed lie in each other.
    """
    keys = [group_key(document) for document in documents]
    order = sorted(set(keys), key=lambda key: sha256(f"{seed}\n{key}".encode()).digest())
    counts = dict.fromkeys(order, 0)
    for key in keys:
        counts[key] += 1
    chosen: set[str] = set()
    held = 0
    for key in order:
        if held >= size:
            break
        chosen.add(key)
        held += counts[key]
    return [document for document, key in zip(documents, keys, strict=True) if key in chosen]
