"""The folder is the registry."""

import subprocess
import sys

import pytest

from clinnlp import plugins
from clinnlp.errors import ConfigError


@pytest.mark.parametrize("kind", plugins.KINDS)
def test_every_name_is_found_and_is_of_its_kind(kind: str) -> None:
    names = plugins.names(kind)
    assert names == sorted(names)
    assert len(names) >= 1
    assert not {name for name in names if name == "base" or name.startswith("_")}
    for name in names:
        plugin = plugins.find(kind, name)
        assert plugin.kind == kind
        assert plugin.__module__ == f"clinnlp.{kind}.{name}"


def test_an_unknown_name_gets_the_nearest_or_all() -> None:
    with pytest.raises(ConfigError) as near:
        plugins.find("formats", "json")
    assert str(near.value) == "'json' is not one of the formats. Next: Did you mean 'jsonl'?"
    with pytest.raises(ConfigError) as far:
        plugins.find("strategies", "zzz")
    every = ", ".join(plugins.names("strategies"))
    assert str(far.value) == f"'zzz' is not one of the strategies. Next: There are: {every}."


def test_names_import_no_plugin() -> None:
    look = "print('clinnlp.formats.brat' in sys.modules)"
    program = f"import sys; from clinnlp import plugins; plugins.names('formats'); {look}"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
    )


def test_meaning_is_the_first_line() -> None:
    assert plugins.meaning(plugins.find("strategies", "full")).startswith("All weights move")
