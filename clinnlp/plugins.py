"""The folder is the registry: a plug-in is one frozen dataclass in one file, named as its file."""

import dataclasses
import difflib
import importlib
import pkgutil
from typing import Any, get_args, get_type_hints

from clinnlp.errors import ConfigError

KINDS = ("formats", "objectives", "tasks", "strategies", "domains", "engines")


def names(kind: str) -> list[str]:
    """The plug-ins of a kind (a folder such as `formats`), sorted by name."""
    package = importlib.import_module(f"clinnlp.{kind}")
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in found if name != "base" and not name.startswith("_"))


def find(kind: str, name: str) -> type[Any]:
    """The plug-in class called `name`. Raises ConfigError with the nearest name."""
    if name not in names(kind):
        raise _unknown(kind, name, names(kind))
    module = importlib.import_module(f"clinnlp.{kind}.{name}")
    (plugin,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and dataclasses.is_dataclass(value) and is_plugin(value, kind, module.__name__)
    )
    return plugin


def find_variant(kind: str, name: str) -> tuple[type[Any], dict[str, str]]:
    """As `find`, of a name that may carry the value of one option: packed-bf16 is packed with {precision: bf16}.

    The option is the one that `variant` of the plug-in's base names; its type is a Literal.
    """
    plain, dash, value = name.partition("-")
    if not dash:
        return find(kind, name), {}
    every = {plugin: variants(find(kind, plugin)) for plugin in names(kind)}
    if value not in every.get(plain, ()):
        raise _unknown(kind, name, [*every, *(f"{plugin}-{value}" for plugin in every for value in every[plugin])])
    plugin = find(kind, plain)
    return plugin, {plugin.variant: value}


def variants(plugin: type[Any]) -> tuple[str, ...]:
    """What may stand after the dash of a plug-in's name; nothing where it has no such option."""
    option = getattr(plugin, "variant", None)
    return get_args(get_type_hints(plugin).get(option)) if option else ()


def _unknown(kind: str, name: str, known: list[str]) -> ConfigError:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known)}"
    return ConfigError(f"{name!r} is not one of the {kind}", next=hint)


def is_plugin(value: type[Any], kind: str, module: str) -> bool:
    """Whether a class is the plug-in its file defines: it extends the base of its kind and stands in that file."""
    return getattr(value, "kind", None) == kind and value.__module__ == module


def meaning(plugin: type[Any]) -> str:
    """The one-line meaning of a plug-in: the first sentence of its docstring."""
    return (plugin.__doc__ or "").strip().split("\n", 1)[0]
