"""The search space of a tuning run: which settings move, and in what range."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clinnlp import config
from clinnlp.errors import ConfigError
from clinnlp.recipes.finetune import Finetune

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# equal in all fine-tunings that are compared; whether a file may be downloaded is none of their differences
SAME = ("out", "data", "task.name", "seed", "download", "with_text", "with_text_notes")
FIXED = (*SAME, "privacy")  # in all trials: with privacy each would spend some
CHOICE = "fit.learning_rate: {low: 1e-4, high: 2e-3, log: true}, or strategy.rank: [8, 16, 64]"


@dataclass(frozen=True)
class Range:
    """A setting that moves between two numbers, both included."""

    low: float
    """The least value."""
    high: float
    """The largest value."""
    log: bool = False
    """Whether the logarithm of the setting is spread evenly, as for rates."""
    step: float | None = None
    """The distance between values that are tried; without, any value between."""
    whole: bool = False
    """Whether it takes whole numbers alone; so where low, high and step are written without a point."""

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError("low must be under high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ConfigError("log takes numbers over 0, and no step")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise ConfigError("step must be over 0 and fit between low and high")

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values between which all others lie."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Whether it may take this value."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not self.low <= value <= self.high:
            return False
        off = (value - self.low) / (self.step or 1) % 1 if self.step or self.whole else 0.0
        return min(off, 1 - off) < 1e-9

    def distribution(self) -> "BaseDistribution":
        """The range as Optuna knows it."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)


@dataclass(frozen=True)
class Choices:
    """A setting that takes one of some values."""

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        return self.values

    def holds(self, value: Any) -> bool:
        """Whether it may take this value."""
        return value in self.values

    def distribution(self) -> "BaseDistribution":
        """The choices as Optuna knows them."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)


Space = Mapping[str, Range | Choices]


def read_space(raw: Mapping[str, Any], settings: Finetune) -> Space:
    """The space by dotted path, each value of it tried on the settings.

    A list is choices, `{low, high, log, step}` a range. Raises ConfigError for a path that is no setting (with the
    nearest one), a value that the setting refuses, a setting that must not move, and an empty space.
    """
    space = {path: _dimension(f"space.{path}", value) for path, value in paths(raw)}
    if not space:
        raise ConfigError("nothing to tune", where="space", next=f"give a setting with its values: {CHOICE}")
    for path, dimension in space.items():
        if is_within(path, FIXED):
            raise ConfigError(
                "this setting is the same in all trials, or their scores could not be compared", where=f"space.{path}",
                next="leave it out of the space",
            )  # fmt: skip
        for value in dimension.ends:
            try:
                with_values(settings, {path: value})
            except ConfigError as error:
                raise ConfigError(error.what, where=f"space.{error.where or path}", next=error.next) from None
    return space


def is_within(path: str, fixed: Sequence[str]) -> bool:
    """Whether a dotted path is one of those that are fixed, or lies under one; the task itself always is."""
    return path == "task" or any(path == name or path.startswith(f"{name}.") for name in fixed)


def with_values(settings: Finetune, values: Mapping[str, Any]) -> Finetune:
    """The settings of fine-tuning with some of them, by dotted path, set to other values."""
    raw = plain(settings)
    for path, value in values.items():
        nested: Any = value
        for part in reversed(path.split(".")):
            nested = {part: nested}
        raw = config.merge(raw, nested)
    built: Finetune = config.build(Finetune, raw)
    return built


def plain(settings: Finetune) -> dict[str, Any]:
    """The settings that are of fine-tuning, as YAML holds them."""
    given: dict[str, Any] = config.plain(Finetune(**{f.name: getattr(settings, f.name) for f in fields(Finetune)}))
    return given


def value_at(settings: Finetune, path: str) -> Any:
    """The value of a setting by its dotted path; of a plug-in its name."""
    value: Any = plain(settings)
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value["name"] if isinstance(value, Mapping) and "name" in value else value


def own_values(settings: Finetune, space: Space) -> dict[str, Any] | None:
    """The settings' own values of what is tuned, if all of them lie in the space."""
    own = {path: value_at(settings, path) for path in space}
    if not all(dimension.holds(own[path]) for path, dimension in space.items()):
        return None
    return {path: int(own[path]) if isinstance(d, Range) and d.whole else own[path] for path, d in space.items()}


def best_yaml(path: Path, settings: Finetune) -> str:
    """The settings as a config of finetune, without the folder that they were tried in."""
    import yaml

    values = {name: value for name, value in plain(settings).items() if name != "out"}
    return f"# clinnlp finetune {path} --out DIR\n" + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def paths(raw: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths and what stands there; keys with dots and keys within keys are the same."""
    for key, value in raw.items():
        path = f"{before}{key}"
        if isinstance(value, Mapping) and not {"low", "high"} & set(value):
            yield from paths(value, f"{path}.")
        else:
            yield path, value


def _dimension(where: str, raw: Any) -> Range | Choices:
    if isinstance(raw, Mapping):
        whole = all(_is_whole(raw[name]) for name in ("low", "high", "step") if raw.get(name) is not None)
        try:
            found: Range = config.build(Range, {"whole": whole} | dict(raw), where)
        except ConfigError as error:
            raise ConfigError(error.what, where=error.where or where, next=error.next) from None
        return found
    if not isinstance(raw, Sequence) or isinstance(raw, str) or len(raw) < 2:
        raise ConfigError("give two choices or more, or low and high", where=where, next=f"as in {CHOICE}")
    values = tuple(_number(value) for value in raw)
    if odd := [value for value in values if not isinstance(value, (str, int, float, bool, type(None)))]:
        raise ConfigError(
            f"a choice is a number, a word, true, false or null, not a {type(odd[0]).__name__}", where=where
        )
    if len(set(values)) < len(values):
        raise ConfigError("a choice is given twice", where=where)
    return Choices(values)


def _is_whole(value: Any) -> bool:
    return not isinstance(value, bool) and str(value).lstrip("+-").isdigit()


def _number(value: Any) -> Any:
    """A word that YAML 1.1 does not take for the number that it is, such as 1e-4, as a number."""
    if not isinstance(value, str) or value[:1] not in "+-.0123456789":
        return value
    try:
        return int(value) if _is_whole(value) else float(value)
    except ValueError:
        return value
