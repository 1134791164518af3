"""Settings: YAML and flags become frozen dataclasses; every key is known, every value has its type."""

import ast
import dataclasses
import difflib
import hashlib
import inspect
import json
import textwrap
import types
import typing
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from clinnlp import plugins
from clinnlp.errors import ConfigError

MISSING = dataclasses.MISSING


def build(kind: type[Any], raw: Mapping[str, Any], path: str = "") -> Any:
    """Make the dataclass `kind` from plain values, strictly.

    A field whose type is a plug-in base (it has a `kind`) takes `NAME`, `NAME-VALUE` (`plugins.find_variant`) or
    `{name: NAME, option: value}`; where its type has words beside the plug-in (`Literal["auto"] | Engine`), these too.
    A field marked `metadata={"flat": True}` takes a plug-in's name, and the plug-in's options stand beside it or below.
    Raises ConfigError for an unknown key (with the nearest valid one), a missing one or a wrong type.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"expected settings (key: value), got {type(raw).__name__}", where=path or kind.__name__)
    fields = {_key(field): field for field in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    raw = _beside(raw, fields, path)
    flat = {
        key: _plugin(hints[f.name], raw.get(key), f.default_factory, key)[0] for key, f in fields.items() if _is_flat(f)
    }
    options = {option.name for plugin in flat.values() for option in dataclasses.fields(plugin)}
    for key in raw:
        if key not in fields and key not in options:
            raise _unknown(_join(path, key), key, [*fields, *options])
    values: dict[str, Any] = {}
    for key, field in fields.items():
        where = _join(path, key)
        if key in flat:
            own = {f.name for f in dataclasses.fields(flat[key])} - set(fields)
            values[field.name] = build(flat[key], {name: raw[name] for name in own if name in raw}, path)
        elif key in raw:
            values[field.name] = _value(hints[field.name], raw[key], where, field.default_factory)
    for key, field in fields.items():  # last: a mistyped key explains a missing one
        if field.name not in values and field.default is MISSING and field.default_factory is MISSING:
            where = _join(path, key)
            raise ConfigError("this setting is required", where=where, next=f"give --{where} or {key}: in the config")
    return kind(**values)


def _beside(raw: Mapping[str, Any], fields: Mapping[str, "dataclasses.Field[Any]"], path: str) -> dict[str, Any]:
    """Options written below the name of a flat plug-in, `--format.id_field`, moved beside it: `--id_field`."""
    moved = dict(raw)
    for key, field in fields.items():
        if not (_is_flat(field) and isinstance(moved.get(key), Mapping)):
            continue
        below = dict(moved.pop(key))
        if "name" in below:
            moved[key] = below.pop("name")
        for option in below:
            if option in moved or option in fields:
                where = _join(path, f"{key}.{option}")
                raise ConfigError("given twice, or no option of its own", where=where, next="leave it out")
        moved |= below
    return moved


def plain(settings: Any) -> Any:
    """The settings as plain values that `build` and YAML read back."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        values: dict[str, Any] = {}
        for field in dataclasses.fields(settings):
            value = getattr(settings, field.name)
            if _is_flat(field):
                values |= {_key(field): name_of(value)} | plain(value)
            elif hasattr(value, "kind"):
                values[_key(field)] = {"name": name_of(value), **plain(value)}
            else:
                values[_key(field)] = plain(value)
        return values
    if isinstance(settings, Mapping):
        return {str(key): plain(value) for key, value in settings.items()}
    if isinstance(settings, (list, tuple)):
        return [plain(value) for value in settings]
    return str(settings) if isinstance(settings, Path) else settings


def fingerprint(settings: Any) -> str:
    """SHA-256 of the settings in canonical JSON."""
    text = json.dumps(plain(settings), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as plain values. Raises ConfigError for duplicate keys, aliases, tags or bad syntax."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Safe, and refuses what silently changes meaning."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise ConfigError("aliases (*name) are not allowed", where=str(path), next="write the value out")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            if twice := sorted({str(key) for key in keys if keys.count(key) > 1}):
                raise ConfigError(f"{twice[0]}: key given twice", where=f"{path} line {node.start_mark.line + 1}")
            return super().construct_mapping(node, deep)

    try:
        value = yaml.load(path.read_bytes().decode("utf-8-sig"), Loader)
    except OSError as error:
        raise ConfigError(f"cannot read the config: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8 at byte {error.start}", where=str(path)) from None
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        raise ConfigError(f"not valid YAML at line {line}", where=str(path)) from None
    if not isinstance(value, dict | None):
        raise ConfigError("a config holds key: value lines", where=str(path))
    return value or {}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`: mappings are merged key by key, anything else is replaced.

    The bare name of a plug-in is short for `{name: NAME}`, so `--task ner --task.window 256` work in any order;
    another name brings its own options.
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, str) and old.get("name", value) == value:
            value = {"name": value}
        elif isinstance(old, str) and isinstance(value, Mapping):
            old = {"name": old}
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            another = "name" in old and value.get("name", old["name"]) != old["name"]
            value = value if another else merge(old, value)
        merged[key] = value
    return merged


def nested(name: str, value: Any) -> dict[str, Any]:
    """The value under a dotted name, as plain settings: {"fit": {"batch": 8}}."""
    for part in reversed(name.split(".")):
        value = {part: value}
    return dict(value)


def changed(settings: Any, values: Mapping[str, Any]) -> Any:
    """The settings with other values at dotted names, shorter names first. Raises ConfigError as `build` does."""
    raw: dict[str, Any] = plain(settings)
    for name in sorted(values, key=lambda name: name.count(".")):
        raw = merge(raw, nested(name, values[name]))
    return build(type(settings), raw)


def describe(kind: type[Any], path: str = "", held: Any = None) -> list[tuple[str, str, str]]:
    """Every setting of a dataclass as (dotted name, default, meaning); plug-ins are named, not opened.

    Defaults are those of `held`, where settings within others have their own.
    """
    rows: list[tuple[str, str, str]] = []
    hints, meanings = typing.get_type_hints(kind), field_meanings(kind)
    for field in dataclasses.fields(kind):
        where, made = _join(path, _key(field)), field.default
        if held is not None:
            made = getattr(held, field.name)
        elif field.default_factory is not MISSING:
            made = field.default_factory()
        if dataclasses.is_dataclass(hints[field.name]) and not hasattr(hints[field.name], "kind"):
            rows += describe(hints[field.name], where, None if made is MISSING else made)
            continue
        default = "required" if made is MISSING else name_of(made) if hasattr(made, "kind") else str(made)
        rows.append((where, default, meanings.get(field.name, "")))
        for arm in typing.get_args(hints[field.name]):  # settings that may be left out whole
            if dataclasses.is_dataclass(arm) and isinstance(arm, type) and not hasattr(arm, "kind"):
                rows += describe(arm, where)
    return rows


def field_meanings(kind: type[Any]) -> dict[str, str]:
    """The docstring under each field of a dataclass, its bases included."""
    found: dict[str, str] = {}
    for owner in reversed([base for base in kind.__mro__ if dataclasses.is_dataclass(base)]):
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        lines = body.body if isinstance(body, ast.ClassDef) else []
        for line, after in pairwise(lines):
            match line, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(text.split())
    return found


def _value(hint: Any, raw: Any, path: str, default: Any = MISSING) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if raw in (None, "null") and type(None) in typing.get_args(hint):
            return None
        settings = [arm for arm in typing.get_args(hint) if dataclasses.is_dataclass(arm)]
        words = [word for arm in typing.get_args(hint) for word in _words(arm)]
        if settings:
            return raw if raw in words else _value(settings[0], raw, path)
    if typing.get_origin(hint) is tuple and dataclasses.is_dataclass(typing.get_args(hint)[0]):
        if not isinstance(raw, list):
            raise ConfigError(f"should be a list, got {type(raw).__name__}", where=path, next="as [{...}, {...}]")
        return tuple(_value(typing.get_args(hint)[0], item, f"{path}[{index}]") for index, item in enumerate(raw))
    if typing.get_origin(hint) in (dict, Mapping) and dataclasses.is_dataclass(typing.get_args(hint)[1]):
        if not isinstance(raw, Mapping):
            raise ConfigError(f"should be settings by name, got {type(raw).__name__}", where=path)
        return {str(name): _value(typing.get_args(hint)[1], item, _join(path, name)) for name, item in raw.items()}
    if hasattr(hint, "kind"):
        options = dict(raw) if isinstance(raw, Mapping) else {"name": raw}
        # options without a name are those of the default plug-in: --strategy.rank 8
        plugin, named = _plugin(hint, options.pop("name", None), default if raw else MISSING, path)
        for key in named.keys() & options.keys():
            raise ConfigError("given twice: in the name too", where=_join(path, key), next="leave one of them out")
        return build(plugin, named | options, path)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if default is not MISSING and isinstance(raw, Mapping):  # what is not given stays as this field has it
            raw = merge(_own(default()), raw)
        return build(hint, raw, path)
    return _leaf(hint, raw, path)


def _own(settings: Any) -> dict[str, Any]:
    """The plain values in which settings differ from the defaults of their class."""
    found = {}
    for field in dataclasses.fields(settings):
        value, default = getattr(settings, field.name), field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        if value != default:
            found[_key(field)] = plain(value)
    return found


def _leaf(hint: Any, raw: Any, path: str) -> Any:
    import pydantic

    if typing.get_origin(hint) is tuple and isinstance(raw, str):  # as a flag: --sizes 10,25
        raw = [part.strip() for part in raw.split(",") if part.strip()]
    try:
        return pydantic.TypeAdapter(hint, config={"allow_inf_nan": False}).validate_python(raw)
    except pydantic.ValidationError as error:
        # pydantic's text holds the offending value: only the kind of fault is passed on
        wanted = error.errors(include_input=False, include_url=False)[0]["msg"].removeprefix("Input should be ")
        raise ConfigError(f"should be {wanted}, got {type(raw).__name__}", where=path) from None


def _words(hint: Any) -> tuple[Any, ...]:
    """The words of a Literal."""
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()


def _plugin(hint: Any, name: Any, default: Any, path: str = "") -> tuple[type[Any], dict[str, str]]:
    if name is None and default is not MISSING:
        return type(default()), {}
    if not isinstance(name, str):
        known = ", ".join(plugins.names(hint.kind))
        raise ConfigError("needs a name", where=path, next=f"choose one of {known}")
    try:
        return plugins.find_variant(hint.kind, name)
    except ConfigError as error:
        raise ConfigError(error.what, where=path, next=error.next) from None


def _unknown(path: str, key: str, valid: list[str]) -> ConfigError:
    near = difflib.get_close_matches(str(key), valid, n=1, cutoff=0.5)
    return ConfigError(
        "unknown key", where=path, next=f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(valid)}"
    )


def name_of(plugin: Any) -> str:
    """The name that a plug-in is chosen by."""
    return type(plugin).__module__.rsplit(".", 1)[-1]


def _key(field: "dataclasses.Field[Any]") -> str:
    """The name of a field in YAML and flags, where it cannot be a Python name (`from`)."""
    return str(field.metadata.get("key", field.name))


def _is_flat(field: "dataclasses.Field[Any]") -> bool:
    return bool(field.metadata.get("flat"))


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)
