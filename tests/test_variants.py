"""Names of plug-ins that carry the value of an option: packed-bf16."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from clinnlp import config, plugins
from clinnlp.config import build
from clinnlp.engines.base import Engine
from clinnlp.engines.packed import Packed
from clinnlp.engines.torch import Torch
from clinnlp.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """A recipe that takes an engine."""

    engine: Engine = field(default_factory=Torch)
    chosen: Literal["auto"] | Engine | None = None


def made(engine: object) -> Engine:
    settings: Settings = build(Settings, {"engine": engine})
    return settings.engine


def test_the_value_stands_after_the_dash() -> None:
    assert made("packed-bf16") == made({"name": "packed-bf16"}) == made({"name": "packed", "precision": "bf16"})
    assert made("packed-bf16") == Packed(precision="bf16") != made("packed")
    assert made("torch") == Torch()
    plain = {"name": "packed", "precision": "bf16", "device": "auto"}
    assert config.plain(build(Settings, {"engine": "packed-bf16"}))["engine"] == plain


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("packed-bf61", "Did you mean 'packed-bf16'?"),
        ("pakced-bf16", "Did you mean 'packed-bf16'?"),
        ("torch-bf", "Did you mean 'torch-bf16'?"),
        ("packed-", "Did you mean 'packed'?"),
        ("zz-zz", "There are: "),
    ],
)
def test_a_typo_gets_the_nearest_or_all(name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as told:
        made(name)
    assert str(told.value).startswith(f"engine: {name!r} is not one of the engines. Next: {hint}")


def test_a_value_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"engine\.precision: given twice: in the name too\. Next: leave one of them"):
        made({"name": "packed-bf16", "precision": "fp32"})


def test_a_kind_without_such_an_option_has_plain_names_only() -> None:
    assert plugins.variants(plugins.find("tasks", "ner")) == ()
    with pytest.raises(ConfigError, match=r"'jsonl-bf16' is not one of the formats\. Next: Did you mean 'jsonl'"):
        plugins.find_variant("formats", "jsonl-bf16")


def test_a_word_beside_the_plugins() -> None:
    assert build(Settings, {"chosen": "auto"}).chosen == "auto"
    assert build(Settings, {"chosen": "torch-bf16"}).chosen == Torch(precision="bf16")
    assert build(Settings, {"chosen": "null"}).chosen is None
    with pytest.raises(ConfigError, match="chosen: 'atuo' is not one of the engines"):
        build(Settings, {"chosen": "atuo"})
