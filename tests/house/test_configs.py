"""Every config is complete, builds, and starts with the command that runs it; every setting says what it is."""

import dataclasses
import shlex
import typing
from pathlib import Path
from typing import Any

import pytest

from clinnlp import cli, config, plugins

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT / "configs").as_posix()


def recipe_settings(verb: str) -> type[Any]:
    return cli.settings_of(cli.recipe_of(verb))


def nested(kind: type[Any]) -> list[type[Any]]:
    """A settings class and all settings classes in its fields; plug-ins are left out."""
    found = [kind]
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        for part in (hints[field.name], *typing.get_args(hints[field.name])):
            if dataclasses.is_dataclass(part) and not hasattr(part, "kind"):
                found += nested(part)
    return found


def test_there_are_configs() -> None:
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_first_line_is_the_command(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(path.read_text(encoding="utf-8").splitlines()[0])
    assert words[:2] == ["#", "clinnlp"]
    verb = path.parent.name.replace("_", " ", 1) if path.parent.name not in cli.verbs() else path.parent.name
    assert " ".join(words[2:]).startswith(f"{verb} "), "configs/<verb>/<name>.yaml"
    given = words[2 + len(verb.split()) :]
    assert given[0] == path.relative_to(ROOT).as_posix()
    monkeypatch.chdir(ROOT)
    kind = recipe_settings(verb)
    settings = config.build(kind, cli.read_settings(kind, given))
    assert isinstance(settings, kind)
    assert config.build(kind, config.plain(settings)) == settings
    if verb == "pipeline":
        from clinnlp.recipes import pipeline

        assert pipeline.plan(settings)


@pytest.mark.parametrize("verb", cli.verbs())
def test_every_recipe_setting_says_what_it_is(verb: str) -> None:
    kind = recipe_settings(verb)
    assert 10 < len(plugins.meaning(kind)) <= 120
    for owner in nested(kind):
        meanings = config.field_meanings(owner)
        for field in dataclasses.fields(owner):
            assert meanings.get(field.name), f"{owner.__name__}.{field.name} has no docstring under it"


@pytest.mark.parametrize("kind", plugins.KINDS)
def test_every_plugin_option_says_what_it_is(kind: str) -> None:
    assert plugins.names(kind)
    for name in plugins.names(kind):
        plugin = plugins.find(kind, name)
        meanings = config.field_meanings(plugin)
        for field in dataclasses.fields(plugin):
            assert meanings.get(field.name), f"{name}.{field.name} has no docstring under it"
