"""Every command of the README is understood, and the files it names are there."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from clinnlp import cli, config

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^clinnlp  ?(?=pretrain|finetune|evaluate|label)(.+)$", README, flags=re.MULTILINE)


def test_the_readme_holds_commands_and_both_make_targets() -> None:
    assert len(COMMANDS) >= 4
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(re.findall(r"^make ([a-z-]+)", README, flags=re.MULTILINE)) <= set(targets)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_is_understood(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    verb, *words = shlex.split(command)
    kind = cli.settings_of(importlib.import_module(f"clinnlp.recipes.{verb}"))
    assert config.build(kind, cli.read_settings(kind, words)) is not None


def test_the_files_that_the_readme_links_to_are_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links and all((ROOT / link).exists() for link in links)


def test_the_readme_lists_every_verb_and_format() -> None:
    from clinnlp import plugins

    for name in (*cli.verbs(), *plugins.names("formats")):
        assert f"`{name}" in README, name
