"""`clinnlp select`: candidate base models ranked on the notes that they are for."""

import json
import logging
import math
from dataclasses import dataclass, fields, replace

from clinnlp.core.document import Document
from clinnlp.core.run import Run, write_json
from clinnlp.errors import QUARANTINED, ConfigError, DataError, StoppedError, lacks_room
from clinnlp.models.folder import base_folder, weights_sha256
from clinnlp.recipes import finetune
from clinnlp.recipes._candidates import Ground, check_candidates, free_memory, measured, reason_of, sample_of
from clinnlp.recipes._data import Splits, load_splits, write_quarantine
from clinnlp.recipes._output import start_run
from clinnlp.recipes._selecting import Standing, rank_first, write_selection
from clinnlp.recipes._units import Unit
from clinnlp.recipes.learning_curve import subset

log = logging.getLogger("clinnlp")

NOTES, EPOCHS = 1 / 4, 1 / 3  # of the first round; each further one has twice as many notes


@dataclass(frozen=True)
class Select(finetune.Finetune):
    """Rank candidate base models on labeled notes, by measures and by short fine-tunings of the best."""

    candidates: tuple[str, ...] | str = ()
    """Base models: folders, clinnlp-mini or hub names (NAME@REVISION), with a comma between or as a list."""
    words: int = 8_000
    """Train notes with about so many words are read by each candidate; tokenizers are measured on all."""
    best: int = 3
    """How many of the candidates are fine-tuned for a short time, those that rank best by the measures."""
    rounds: int = 2
    """Rounds of such fine-tunings, each with a third of the epochs: the first with a quarter of the notes, each further
    one for the better half with twice as many. 0 leaves them out."""
    notes: int = 300
    """Train notes that fine-tunings draw from at most, whole patients: with more a selection takes longer."""

    def __post_init__(self) -> None:
        names = self.candidates.split(",") if isinstance(self.candidates, str) else self.candidates
        object.__setattr__(self, "candidates", tuple(name.strip() for name in names if name.strip()))
        check_candidates(self.candidates, self.revision)
        for name, least in (("words", 100), ("best", 1), ("rounds", 0), ("notes", 4)):
            if getattr(self, name) < least:
                raise ConfigError(f"must be {least} or more", where=name)
        super().__post_init__()

    def check_base(self) -> None:
        """Raises ConfigError for a base beside the candidates."""
        if self.base is not None or self.like is not None:
            where = "base" if self.base is not None else "like"
            raise ConfigError("the candidates are the bases", where=where, next="leave it out, or add it to candidates")


def run(settings: Select) -> int:
    """Do the selection; returns the exit status."""
    # 1. the notes; no file of test notes is read
    data = replace(settings.data, test=None)
    splits = load_splits(data, all_read=data.test == settings.data.test)
    if settings.rounds and not splits.dev:
        raise DataError(
            "there are no dev notes to score fine-tunings on", where="data.dev",
            next="--data.dev PATH, --data.dev_share 0.1, or --rounds 0",
        )  # fmt: skip
    run = start_run("select", settings, settings.out, settings.seed)
    run.pin("data", splits.hashes(data))
    candidates = check_candidates(settings.candidates, settings.revision)
    folders = {one.name: base_folder(one.name) for one in candidates}
    run.pin("weights", {name: weights_sha256(folder) for name, folder in folders.items() if folder})
    write_quarantine(run.folder, splits.quarantined)

    # 2. each candidate by itself, without training
    task = settings.task.resolve(splits.train)
    sample = sample_of(splits.train, settings.words, settings.seed)
    ground = Ground(task, task.schema(splits.train), splits.train, sample, settings.seed)
    log.info("%d train notes, of which each candidate reads %d", len(splits.train), len(sample))
    standings: list[Standing] = []
    for number, candidate in enumerate(candidates, 1):
        path = run.folder / f"candidate-{number:02d}.json"
        if not path.exists():
            log.info("candidate %d of %d: %s", number, len(candidates), candidate.name)
            write_json(path, measured(candidate, ground, settings.download))
        held = json.loads(path.read_text(encoding="utf-8"))
        standings.append(Standing(candidate, held, reason=held.get("reason")))
    if all(one.reason is not None for one in standings):
        raise DataError(
            f"none of the {len(standings)} candidates could be measured; the first: {standings[0].reason}",
            where=standings[0].candidate.name, next="check the names given as candidates",
        )  # fmt: skip
    rank_first(standings)

    # 3. the best of them, fine-tuned for a short time
    _halve(settings, splits, run, standings)

    # 4. the report
    standings.sort(key=lambda one: one.order)
    facts = {"task": type(task).__name__, "train notes": len(splits.train), "dev notes": len(splits.dev),
             "notes read by each candidate": len(sample), "candidates": len(standings),
             "failed": sum(one.reason is not None for one in standings)}  # fmt: skip
    notices = ["Test notes were not read", *(f"Waived: {line}" for line in splits.waived)]
    write_selection(run, standings, facts, notices)
    run.finish({**facts, "first": standings[0].candidate.name})
    log.info("%s", (run.folder / "report.txt").read_text(encoding="utf-8"))
    return QUARANTINED if splits.quarantined else 0


def _halve(settings: Select, splits: Splits, run: Run, standings: list[Standing]) -> None:
    """Successive halving (Jamieson and Talwalkar 2016) of the best; what fails in it is out, with its reason."""
    numbers = {id(one): number for number, one in enumerate(standings, 1)}
    alive = sorted((one for one in standings if one.reason is None), key=lambda one: one.order)[: settings.best]
    for number in range(settings.rounds):
        if number and len(alive) < 2:
            break
        share = min(1.0, NOTES * 2**number)
        size = round(share * min(settings.notes, len(splits.train)))
        train = subset(splits.train, max(size, 1), settings.seed)
        log.info("round %d: %d candidates, %d notes", number + 1, len(alive), len(train))
        for one in alive:
            name = f"round-{number + 1}-candidate-{numbers[id(one)]:02d}"
            unit = Unit(run, name, _short(settings, one, share), settings.seed, keep_model=False)
            one.reason = _failure(unit, train, splits.dev)
            if one.reason is None:
                one.rounds.append(unit.score)
            log.info("%s: %s", one.candidate.name, one.rounds[-1] if one.reason is None else one.reason)
        alive = sorted((one for one in alive if one.reason is None), key=lambda one: one.order)
        alive = alive[: math.ceil(len(alive) / 2)]
    for one in standings:
        one.first = None if one.reason is not None else one.first


def _failure(unit: Unit, train: list[Document], dev: list[Document]) -> str | None:
    """Why a fine-tuning failed; None if it did not."""
    try:
        unit.finish(train, dev, ())
    except StoppedError:
        raise
    except Exception as error:
        if lacks_room(error):  # a full disk is no fault of the candidate
            raise
        return f"fine-tuning: {reason_of(error)}"
    finally:
        free_memory()
    return None


def _short(settings: Select, one: Standing, share: float) -> finetune.Finetune:
    """The settings of a fine-tuning with a share of the notes and a third of the epochs, scored once at its end."""
    fit, steps = settings.fit, share * EPOCHS
    short = replace(
        fit,
        epochs=(fit.epochs or settings.strategy.default_epochs) * EPOCHS,
        evaluations=1,
        min_steps=math.ceil(fit.min_steps * steps),
        max_steps=None if fit.max_steps is None else max(round(fit.max_steps * steps), 1),
    )
    given = {f.name: getattr(settings, f.name) for f in fields(finetune.Finetune)}
    own = {"base": one.candidate.name, "revision": one.candidate.revision, "fit": short, "with_text": False}
    return finetune.Finetune(**given | own)
