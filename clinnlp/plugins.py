"""The folder is the registry: a plug-in is one frozen dataclass in one file, named as its file."""

import dataclasses
import difflib
import importlib
import pkgutil
from typing import Any

from clinnlp.errors import ConfigError

KINDS = ("formats", "objectives", "tasks", "strategies", "engines")


def names(kind: str) -> list[str]:
    """The plug-ins of a kind (a folder such as `formats`), sorted by name."""
    package = importlib.import_module(f"clinnlp.{kind}")
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in found if name != "base" and not name.startswith("_"))


def find(kind: str, name: str) -> type[Any]:
    """The plug-in class called `name`. Raises ConfigError with the nearest name."""
    known = names(kind)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known)}"
        raise ConfigError(f"{name!r} is not one of the {kind}", next=hint)
    module = importlib.import_module(f"clinnlp.{kind}.{name}")
    (plugin,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and dataclasses.is_dataclass(value) and is_plugin(value, kind, module.__name__)
    )
    return plugin


def is_plugin(value: type[Any], kind: str, module: str) -> bool:
    """Whether a class is the plug-in its file defines: it extends the base of its kind and stands in that file."""
    return getattr(value, "kind", None) == kind and value.__module__ == module


def meaning(plugin: type[Any]) -> str:
    """The one-line meaning of a plug-in: the first sentence of its docstring."""
    return (plugin.__doc__ or "").strip().split("\n", 1)[0]
