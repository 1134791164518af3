"""Settings from YAML and flags: strict, typed, and the same after a round trip."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from clinnlp import config, plugins
from clinnlp.errors import ConfigError
from clinnlp.formats.base import Format
from clinnlp.formats.conll import Conll
from clinnlp.formats.jsonl import Jsonl
from clinnlp.strategies.base import Strategy
from clinnlp.strategies.full import Full
from clinnlp.strategies.lora import Lora


@dataclass(frozen=True)
class Inner:
    """Settings inside others."""

    epochs: float = 3.0
    """Passes."""
    mode: Literal["fast", "slow"] = "fast"
    """Pace."""


@dataclass(frozen=True)
class Outer:
    """Settings of a test."""

    out: Path
    """Where."""
    inner: Inner = field(default_factory=Inner)
    """More."""
    several: tuple[Inner, ...] = ()
    """Many."""
    strategy: Strategy = field(default_factory=Lora)
    """A plug-in."""
    format: Format = field(default_factory=Jsonl, metadata={"flat": True})
    """A plug-in whose options stand beside it."""
    source: str | None = field(default=None, metadata={"key": "from"})
    """A key that Python cannot have."""
    named: Mapping[str, Inner] = field(default_factory=dict)
    """Settings by name."""
    count: int | None = None
    """A number."""
    sure: bool = False
    """Yes or no."""


def build(**raw: Any) -> Outer:
    made: Outer = config.build(Outer, {"out": "x", **raw})
    return made


def test_options_of_a_flat_plugin_may_stand_below_its_name() -> None:
    assert build(format={"name": "conll", "tag_column": 2}) == build(format="conll", tag_column=2)
    assert build(format={"id_field": "a"}, text_field="b") == build(id_field="a", text_field="b")
    for below in ({"id_field": "a"}, {"count": 3}):
        with pytest.raises(ConfigError, match=r"format\.\w+: given twice, or no option of its own"):
            build(format=below, id_field="b")
    with pytest.raises(ConfigError, match="unknown key"):
        build(format={"tag_column": 2})


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"inner": {"epochs": 1}, "count": 3, "sure": True, "from": "there"},
        {"strategy": "full"},
        {"strategy": {"name": "lora", "rank": 4}, "several": [{"epochs": 1}, {"mode": "slow"}]},
        {"format": "conll", "tag_column": 2},
        {"named": {"a": {"epochs": 1}, "b": {}}},
    ],
)
def test_plain_values_build_the_same_settings_again(raw: dict[str, Any]) -> None:
    settings = build(**raw)
    again = config.plain(settings)
    assert config.build(Outer, again) == settings
    assert config.fingerprint(config.build(Outer, again)) == config.fingerprint(settings)


def test_words_of_the_command_line_get_their_types() -> None:
    made = build(count="3", sure="true", inner={"epochs": "2.5"})
    assert (made.count, made.sure, made.inner.epochs, made.out) == (3, True, 2.5, Path("x"))
    assert build(count="null").count is None


def test_a_list_of_words_or_numbers_may_be_given_with_commas() -> None:
    assert config.build(Loop, {"words": "a, b"}).words == ("a", "b")
    assert config.build(Loop, {"words": "a"}).words == ("a",)
    assert config.build(Loop, {"words": ""}).words == ()
    assert config.build(Loop, {"sizes": "10,25"}).sizes == (10, 25)
    with pytest.raises(ConfigError, match="sizes: should be a valid integer"):
        config.build(Loop, {"sizes": "10,many"})


def test_plugins_by_name_by_options_or_both() -> None:
    assert build(strategy="full").strategy == Full()
    assert build(strategy={"rank": 8}).strategy == Lora(rank=8), "options alone are of the default plug-in"
    assert build(strategy={"name": "full", "head_learning_rate": 0.1}).strategy == Full(head_learning_rate=0.1)
    assert build(format="conll", tag_column="2").format == Conll(tag_column=2)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"inner": {"epoch": 1}}, "inner.epoch: unknown key. Next: Did you mean 'epochs'?"),
        ({"zzz": 1}, "zzz: unknown key. Next: There are: out, inner, several, strategy, format, from, named, count,"),
        ({"named": {"a": {"epoch": 1}}}, "named.a.epoch: unknown key. Next: Did you mean 'epochs'?"),
        ({"named": ["a"]}, "named: should be settings by name, got list"),
        ({"several": [{"epoch": 1}]}, "several[0].epoch: unknown key. Next: Did you mean 'epochs'?"),
        ({"several": {"epochs": 1}}, "several: should be a list, got dict. Next: as [{...}, {...}]."),
        ({"count": "many"}, "count: should be a valid integer, unable to parse string as an integer, got str."),
        ({"count": 1.5}, "count: should be a valid integer, got a number with a fractional part, got float."),
        ({"inner": {"mode": "quick"}}, "inner.mode: should be 'fast' or 'slow', got str."),
        ({"inner": 3}, "inner: expected settings (key: value), got int."),
        ({"strategy": "lorra"}, "strategy: 'lorra' is not one of the strategies. Next: Did you mean 'lora'?"),
        ({"strategy": 3}, f"strategy: needs a name. Next: choose one of {', '.join(plugins.names('strategies'))}."),
        ({"strategy": {"name": "full", "rank": 3}}, "strategy.rank: unknown key."),
        ({"strategy": {"rank": 0}}, "strategy.rank: must be 1 or more."),
        ({"tag_column": 3}, "tag_column: unknown key."),
        ({"format": "konll"}, "format: 'konll' is not one of the formats. Next: Did you mean 'conll'?"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        build(**raw)
    assert str(error.value).startswith(message)


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(ConfigError) as error:
        config.build(Outer, {})
    assert str(error.value) == "out: this setting is required. Next: give --out or out: in the config."


def test_the_offending_value_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as error:
        build(count="Qvortrup, 74M")
    assert "Qvortrup" not in str(error.value)


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"task": "ner"}, {"task": {"window": 64}}, {"task": {"name": "ner", "window": 64}}),
        ({"task": {"window": 64}}, {"task": "ner"}, {"task": {"name": "ner", "window": 64}}),
        ({"task": {"name": "ner", "window": 64}}, {"task": "ner"}, {"task": {"name": "ner", "window": 64}}),
        ({"s": {"name": "lora", "rank": 4}}, {"s": "full"}, {"s": "full"}),
        ({"s": {"name": "lora", "rank": 4}}, {"s": {"name": "full"}}, {"s": {"name": "full"}}),
    ],
)
def test_merge(base: dict[str, Any], over: dict[str, Any], merged: dict[str, Any]) -> None:
    assert config.merge(base, over) == merged


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"a: 1\na: 2\n", "{path} line 1: a: key given twice."),
        (b"a: &x 1\nb: *x\n", "{path}: aliases (*name) are not allowed. Next: write the value out."),
        (b"a: [1\n", "{path}: not valid YAML at line 2."),
        (b"a: !!python/object/apply:os.system [x]\n", "{path}: not valid YAML at line 1."),
        (b"- a\n", "{path}: a config holds key: value lines."),
        (b"a: \xff\n", "{path}: not UTF-8 at byte 3."),
    ],
    ids=["twice", "alias", "syntax", "tag", "list", "bytes"],
)
def test_yaml_that_is_refused(raw: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError) as error:
        config.load_yaml(path)
    assert str(error.value) == message.format(path=path)


def test_yaml_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: {c: 3.0e-4, d: null}\r\n")
    assert config.load_yaml(path) == {"a": 1, "b": {"c": 3e-4, "d": None}}
    path.write_bytes(b"")
    assert config.load_yaml(path) == {}
    with pytest.raises(ConfigError, match="cannot read the config: No such file"):
        config.load_yaml(tmp_path / "absent.yaml")


def test_a_rate_without_a_point_is_still_a_number(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("inner: {epochs: 1e-4}\nout: x\n")  # YAML 1.1 reads this as text
    assert config.build(Outer, config.load_yaml(path)).inner.epochs == 1e-4


def test_fingerprints_are_stable_and_tell_settings_apart() -> None:
    assert config.fingerprint({"b": 1, "a": Path("x")}) == config.fingerprint({"a": "x", "b": 1})
    assert config.fingerprint(build()) != config.fingerprint(build(count=1))


def test_describe_gives_dotted_names_defaults_and_meanings() -> None:
    rows = {name: (default, meaning) for name, default, meaning in config.describe(Outer)}
    assert rows["inner.epochs"] == ("3.0", "Passes.")
    assert rows["strategy"] == ("lora", "A plug-in.")
    assert rows["from"] == ("None", "A key that Python cannot have.")
    assert rows["out"][0] == "required"


def test_settings_that_may_be_left_out_whole_are_listed_too() -> None:
    from clinnlp.recipes.finetune import Finetune

    rows = {name: (default, meaning) for name, default, meaning in config.describe(Finetune)}
    assert rows["privacy"][0] == "None"
    assert rows["privacy.clip"] == ("0.1", "Largest gradient norm of one patient.")
    assert not any(name.startswith(("domain.", "task.")) for name in rows), "plug-ins are named, not opened"


@dataclass(frozen=True)
class Loop:
    batch: int = 16
    rate: float = 0.1
    words: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class HasItsOwn:
    fit: Loop = field(default_factory=lambda: Loop(batch=8, words=("a",)))


def test_one_option_leaves_the_others_as_the_field_has_them() -> None:
    build, describe = config.build, config.describe
    assert build(HasItsOwn, {"fit": {"rate": 0.5}}).fit == Loop(batch=8, rate=0.5, words=("a",))
    assert build(HasItsOwn, {"fit": {"batch": 4, "words": []}}).fit == Loop(batch=4)
    assert build(HasItsOwn, {"fit": {}}).fit == build(HasItsOwn, {}).fit
    assert ("fit.batch", "8", "") in describe(HasItsOwn)


@pytest.mark.parametrize("value", [math.nan, math.inf, "nan", "-inf"])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"fit\.rate: should be a finite number"):
        config.build(HasItsOwn, {"fit": {"rate": value}})
