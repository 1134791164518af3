"""`clinnlp tune`: settings of a fine-tuning searched on the dev notes; the best ones are a config of finetune."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from clinnlp.core.run import Run
from clinnlp.errors import QUARANTINED, ConfigError, DataError, IntegrityError, MemoryLackError, lacks_memory
from clinnlp.recipes import finetune
from clinnlp.recipes._candidates import free_memory, reason_of
from clinnlp.recipes._data import Splits, load_splits, write_quarantine
from clinnlp.recipes._output import CHECKPOINTS, start_run
from clinnlp.recipes._trials import Pruned, Trial, Trials, library
from clinnlp.recipes._tuning import best_yaml, own_values, read_space, with_values
from clinnlp.recipes._tuning_report import write_tuning
from clinnlp.recipes._units import Unit

log = logging.getLogger("clinnlp")

TRIALS, BEST = "trials.sqlite3", "best.yaml"


@dataclass(frozen=True)
class Tune(finetune.Finetune):
    """Search settings of a fine-tuning on the dev notes; test notes are not read unless final is set."""

    space: Mapping[str, Any] = field(default_factory=dict)
    """What is tuned, by dotted path: a list of choices, or {low, high} with log: true or a step. All else stays."""
    trials: int = 12
    """How many fine-tunings are tried. The first has the settings as given, if they lie in the space."""
    pruner: Literal["median", "none"] = "median"
    """Give up a trial whose best dev score is under the median of earlier trials at the same evaluation, or none."""
    refit: bool = True
    """Fine-tune once more with the best settings and keep the model, in the folder best."""
    final: bool = False
    """Score that model on the test notes, once. Without it no file of test notes is read."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trials < 1:
            raise ConfigError("must be 1 or more", where="trials")
        if self.final and not self.refit:
            raise ConfigError("test notes are scored by the refitted model", where="final", next="--refit true")
        if self.final and not (self.data.test or self.data.test_share):
            raise ConfigError("there are no test notes", where="final", next="--data.test PATH, or leave final out")
        read_space(self.space, self)


def run(settings: Tune) -> int:
    """Do the tuning; returns the exit status."""
    # 1. the notes: those of test stay unread, or wait for the end
    library()
    data = settings.data if settings.final else replace(settings.data, test=None)
    splits = load_splits(data, all_read=data.test == settings.data.test)
    if not splits.dev:
        raise DataError(
            "there are no dev notes to score trials on",
            where="data.dev",
            next="--data.dev PATH or --data.dev_share 0.1",
        )
    run = start_run("tune", settings, settings.out, settings.seed)
    run.pin("data", splits.hashes(data))
    write_quarantine(run.folder, splits.quarantined)

    # 2. the trials, one after the other; what an earlier try left unfinished goes on
    space = read_space(settings.space, settings)
    prune = settings.pruner == "median"
    trials = Trials.open(run.folder / TRIALS, space, settings.seed, settings.trials, prune)
    own = own_values(settings, space)
    if own is None:
        log.info("the settings as given do not lie in the space: they are not tried")
    if again := trials.begin(own):
        log.info("%d trial was broken off: it goes on", again)
    while (trial := trials.next()) is not None:
        log.info("trial %d of %d: %s", trial.number, settings.trials, _told(trial.values))
        _try(settings, trial, splits, run)
    best = trials.best()
    chosen = with_values(settings, best.values)
    (run.folder / BEST).write_text(best_yaml(run.folder / BEST, chosen), encoding="utf-8")
    log.info("best: trial %d, dev %.4f, %s", best.number, best.score, _told(best.values))

    # 3. once more with the best settings; the test split, if it is asked for, is scored here and nowhere else
    refitted, waived = None, splits.waived
    if settings.refit:
        unit = Unit(run, "best", chosen, settings.seed, keep_model=True)
        unit.finish(splits.train, splits.dev, splits.test if settings.final else (), waived=splits.waived)
        refitted, waived = unit.score, unit.waived

    # 4. the table of trials
    facts = {"base": settings.origin, "train notes": len(splits.train), "dev notes": len(splits.dev),
             "test notes": f"{len(splits.test)}, scored once" if settings.final else "not read",
             "score": settings.task.dev_score, "trials": settings.trials, "best trial": best.number,
             "best dev score": best.score}  # fmt: skip
    facts |= {} if refitted is None else {f"refitted model, {'test' if settings.final else 'dev'} score": refitted}
    write_tuning(run, trials, facts, [f"Waived: {line}" for line in waived])
    run.finish(facts)
    log.info("%s", (run.folder / "report.txt").read_text(encoding="utf-8"))
    return QUARANTINED if splits.quarantined else 0


def _try(settings: Tune, trial: Trial, splits: Splits, run: Run) -> None:
    """One trial. Out of memory, a loss that is not a number, and settings that do not go together end it alone."""
    folder = run.folder / f"trial-{trial.number:03d}"
    try:
        unit = Unit(run, folder.name, with_values(settings, trial.values), settings.seed, keep_model=False)
        trial.evaluations = _evaluations(folder)
        unit.finish(splits.train, splits.dev, (), trial.on_score)
        score = unit.score
        trial.done(0.0 if score is None else score)
        log.info("trial %d: %s %.4f", trial.number, settings.task.dev_score, score or 0.0)
        return
    except Pruned as pruned:
        trial.given_up(str(pruned), "pruned")
    except (IntegrityError, MemoryLackError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not lacks_memory(error):
            raise
        trial.given_up(reason_of(error), "pruned")
    except (ConfigError, DataError) as error:
        trial.given_up(reason_of(error), "failed")
    log.warning("trial %d: given up, %s", trial.number, trial.asked.user_attrs["reason"])
    for name in (CHECKPOINTS, "model"):
        shutil.rmtree(folder / name, ignore_errors=True)
    free_memory()


def _evaluations(folder: Any) -> int:
    """How many dev scores the training in a folder had when it last saved."""
    from clinnlp.training.checkpoints import Checkpoints

    saved = Checkpoints(folder / CHECKPOINTS).newest() if (folder / CHECKPOINTS).is_dir() else None
    return sum("score" in row for row in saved.progress.history) if saved else 0


def _told(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{path} {value:.3g}" if isinstance(value, float) else f"{path} {value}"
                     for path, value in values.items())  # fmt: skip
