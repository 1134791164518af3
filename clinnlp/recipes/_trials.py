"""The trials of a tuning run in an SQLite file: what was tried, with which score, and what to try next."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clinnlp.errors import ConfigError, DataError, IntegrityError
from clinnlp.recipes._tuning import Space

if TYPE_CHECKING:
    import optuna

STUDY = "clinnlp tune"
AT_RANDOM = 3  # of trials one in so many is drawn at random, before the sampler learns from them
FEWEST_AT_RANDOM = 4
FINISHED_BEFORE_PRUNING, EVALUATIONS_BEFORE_PRUNING = 4, 2
FEWEST_FOR_IMPORTANCE = 6  # finished trials
REASON, SECONDS, SCORES = "reason", "seconds", "scores"


class Pruned(Exception):
    """A dev score was under the median of the trials before it at the same evaluation: the training is given up."""


@dataclass(frozen=True)
class Tried:
    """One trial that is over: its values, its dev score (None unless done), and why it was given up."""

    number: int
    state: Literal["done", "pruned", "failed"]
    values: Mapping[str, Any]
    score: float | None
    scores: tuple[float, ...]
    seconds: float | None
    reason: str | None


@dataclass
class Trials:
    """A study of Optuna. Its sampler draws from the seed, the number of a trial and the trials before it alone."""

    study: "optuna.Study"
    space: Space
    seed: int
    count: int
    distributions: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.distributions = {path: dimension.distribution() for path, dimension in self.space.items()}

    @classmethod
    def open(cls, path: Path, space: Space, seed: int, count: int, prune: bool) -> "Trials":
        """The study in a file, made if there is none. Raises IntegrityError for a file that is none."""
        import sqlalchemy

        optuna = library()
        pruner = (
            optuna.pruners.MedianPruner(FINISHED_BEFORE_PRUNING, EVALUATIONS_BEFORE_PRUNING)
            if prune
            else optuna.pruners.NopPruner()
        )
        url = sqlalchemy.URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
        try:
            storage = optuna.storages.RDBStorage(url)
            study = optuna.create_study(
                storage=storage, study_name=STUDY, direction="maximize", pruner=pruner, load_if_exists=True
            )
        except (sqlalchemy.exc.DatabaseError, RuntimeError) as error:
            raise IntegrityError(
                f"the trials cannot be read ({type(error).__name__})", where=str(path),
                next="copy the folder again, or choose a new --out",
            ) from None  # fmt: skip
        return cls(study, space, seed, count)

    def begin(self, own: Mapping[str, Any] | None) -> int:
        """Try the settings' `own` values first; what was broken off is to be tried again. Returns how many were."""
        optuna = library()
        states = optuna.trial.TrialState
        trials = self.study.get_trials(deepcopy=False)
        if not trials and own is not None:
            self.study.enqueue_trial(dict(own))
        waiting = any(trial.state == states.WAITING for trial in trials)
        broken = [trial for trial in trials if trial.state == states.RUNNING]
        for trial in broken:
            if trial.params.keys() == self.space.keys() and not waiting:  # else it was killed while it was drawn
                scores = {str(step): score for step, score in trial.intermediate_values.items()}
                self.study.enqueue_trial(trial.params, user_attrs={SCORES: scores})
            self.study.tell(trial.number, state=states.FAIL)  # without a reason: that tells it from one that failed
        return len(broken)

    def next(self) -> "Trial | None":
        """The next trial, None if all are done."""
        number = len(self.tried()) + 1
        if number > self.count:
            return None
        optuna = library()
        at_random = max(self.count // AT_RANDOM, FEWEST_AT_RANDOM)
        self.study.sampler = optuna.samplers.TPESampler(seed=self.seed + number, n_startup_trials=at_random)
        return Trial(number, self.study.ask(self.distributions))

    def tried(self) -> list[Tried]:
        """The trials that are over, in order; those that were broken off are not among them."""
        optuna = library()
        states = optuna.trial.TrialState
        names: dict[Any, Literal["done", "pruned", "failed"]] = {
            states.COMPLETE: "done", states.PRUNED: "pruned", states.FAIL: "failed",
        }  # fmt: skip
        over = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state in names]
        over = [trial for trial in over if trial.state == states.COMPLETE or REASON in trial.user_attrs]
        return [
            Tried(
                number,
                names[trial.state],
                {path: trial.params.get(path) for path in self.space},
                trial.value if names[trial.state] == "done" else None,
                tuple(score for _, score in sorted(trial.intermediate_values.items())),
                trial.user_attrs.get(SECONDS),
                trial.user_attrs.get(REASON),
            )
            for number, trial in enumerate(over, 1)
        ]

    def best(self) -> Tried:
        """The trial with the highest dev score, the first of equals. Raises DataError if none was done."""
        tried = self.tried()
        done = [(one.score, -one.number, one) for one in tried if one.score is not None]
        if not done:
            reasons = "; ".join(dict.fromkeys(str(one.reason) for one in tried))
            raise DataError(f"none of the {len(tried)} trials was finished: {reasons}", next="correct the space")
        return max(done, key=lambda one: one[:2])[2]

    def importance(self) -> dict[str, float]:
        """The share of the spread of dev scores that each setting explains (fANOVA, Hutter et al. 2014); {} if few."""
        optuna = library()
        done = [one.score for one in self.tried() if one.score is not None]
        if len(done) < FEWEST_FOR_IMPORTANCE or len(set(done)) < 2 or len(self.space) < 2:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self.seed)
        found: dict[str, float] = optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        return found


@dataclass
class Trial:
    """A trial that is being done; `evaluations` is how many dev scores it already had when it was taken up."""

    number: int
    asked: "optuna.Trial"
    evaluations: int = 0
    begun: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.known = {int(step) for step in self.asked.user_attrs.get(SCORES, {})}
        for step, score in self.asked.user_attrs.get(SCORES, {}).items():
            self.asked.report(score, int(step))

    @property
    def values(self) -> dict[str, Any]:
        """The settings that it tries, by dotted path."""
        return dict(self.asked.params)

    def on_score(self, score: float) -> None:
        """Keep a dev score. Raises Pruned if it is to be given up."""
        if self.evaluations not in self.known:
            self.asked.report(score, self.evaluations)
        self.evaluations += 1
        if self.asked.should_prune():
            raise Pruned(f"under the median of the trials before it at dev evaluation {self.evaluations}")

    def done(self, score: float) -> None:
        """Keep its dev score."""
        self.asked.set_user_attr(SECONDS, round(time.monotonic() - self.begun, 1))
        self.asked.study.tell(self.asked, score)

    def given_up(self, reason: str, state: Literal["pruned", "failed"]) -> None:
        """Keep why there is no score."""
        states = library().trial.TrialState
        self.asked.set_user_attr(SECONDS, round(time.monotonic() - self.begun, 1))
        self.asked.set_user_attr(REASON, reason)
        self.asked.study.tell(self.asked, state=states.PRUNED if state == "pruned" else states.FAIL)


def library() -> Any:
    """Optuna, quiet. Raises ConfigError, naming the extra, where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise ConfigError("tuning needs Optuna, which is not installed", next="pip install 'clinnlp[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
