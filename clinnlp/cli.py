"""The command line: a verb, perhaps a config, and settings as flags; the one place that prints."""

import contextlib
import importlib
import json
import logging
import os
import pkgutil
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from clinnlp import config, plugins
from clinnlp.core.ranks import rank
from clinnlp.core.run import abandon
from clinnlp.core.signals import Signals, Stop
from clinnlp.errors import ClinnlpError, MemoryLackError, StoppedError, StorageError, UsageError, lacks_room
from clinnlp.version import VERSION

USAGE = "clinnlp VERB [CONFIG.yaml] [--key.path value ...]"
NO_FAULTS = (ClinnlpError, MemoryError, KeyboardInterrupt, Stop)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    words, as_json = _errors_as_json(list(sys.argv[1:] if arguments is None else arguments))
    try:
        return _command(words)
    except BrokenPipeError:
        sys.stdout = Path(os.devnull).open("w")
        return 0
    except (Exception, KeyboardInterrupt, Stop) as error:
        if os.environ.get("CLINNLP_DEBUG") and not isinstance(error, NO_FAULTS) and not lacks_room(error):
            abandon()
            raise
        told = _told(error)
        line = json.dumps(told.as_dict()) if as_json else f"clinnlp: error[{told.code}] {_visible(str(told))}"
        print(line, file=sys.stderr)
        return told.exit_status


def _told(error: BaseException) -> ClinnlpError:
    """What is told of an error; of one of another library only its kind, since its message may quote note text."""
    if isinstance(error, ClinnlpError):
        return error
    stopped = isinstance(error, KeyboardInterrupt | Stop)
    kept = abandon("stopped" if stopped else "failed")
    if stopped:
        return StoppedError(error.args[0] if isinstance(error, Stop) else 2, kept=kept)
    if isinstance(error, MemoryError):
        return MemoryLackError("out of memory", kept=kept, next="lower fit.batch or batch_tokens")
    if said := lacks_room(error):  # without the path, whose name may be a note's id
        next = "make room and run it again; if it refuses the folder, with a new --out"
        return StorageError(f"cannot write: {said}", kept=kept, next=next)
    return ClinnlpError(
        f"unexpected {type(error).__name__}: a fault of clinnlp",
        kept=kept,
        next="set CLINNLP_DEBUG=1 to see where it happened; the trace may quote notes, so keep it private",
    )


def _errors_as_json(words: list[str]) -> tuple[list[str], bool]:
    """The words without `--errors json`, which goes with any verb, and whether it was there."""
    left = [word for word in words if word != "--errors=json"]
    for place in range(len(left) - 1, 0, -1):
        if left[place - 1 : place + 1] == ["--errors", "json"]:
            del left[place - 1 : place + 1]
    return left, len(left) < len(words)


def _command(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"clinnlp {VERSION}")
        return 0
    verb, rest = _verb(words)
    recipe = recipe_of(verb)
    kind = settings_of(recipe)
    if any(word in ("-h", "--help") for word in rest):
        print(_help(verb, kind))
        return 0
    settings = config.build(kind, read_settings(kind, rest))
    _prepare_process()
    try:
        with Signals():
            return int(recipe.run(settings))
    except ClinnlpError as error:
        kept = abandon("stopped" if isinstance(error, StoppedError) else "failed")
        error.kept = error.kept or kept
        raise


def _verb(words: list[str]) -> tuple[str, list[str]]:
    """The verb, of one word or two, and the words after it."""
    one, two = words[0], " ".join(words[:2])
    if one.startswith("-"):
        raise UsageError(f"{one}: a verb comes first", next=USAGE)
    if two in verbs():
        return two, words[2:]
    import difflib

    longer = [verb for verb in verbs() if verb.startswith(f"{one} ")]
    near = difflib.get_close_matches(two, longer, n=1, cutoff=0.8)
    if one in verbs() and not (near and words[1:2] and not Path(words[1]).exists()):
        return one, words[1:]
    near = near or difflib.get_close_matches(one, verbs(), n=1)
    raise UsageError(
        f"{_visible(two if longer else one)[:60]!r}: unknown verb",
        next=f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(verbs())}",
    )


def verbs() -> list[str]:
    """The verbs: the recipe files; `audit_canaries.py` beside `audit.py` is the verb `audit canaries`."""
    import clinnlp.recipes

    names = {m.name for m in pkgutil.iter_modules(clinnlp.recipes.__path__) if not m.name.startswith("_")}
    return sorted(name.replace("_", " ", 1) if name.partition("_")[0] in names else name for name in names)


def recipe_of(verb: str) -> ModuleType:
    """The recipe of a verb."""
    return importlib.import_module(f"clinnlp.recipes.{verb.replace(' ', '_')}")


def settings_of(recipe: Any) -> type[Any]:
    """The settings class of a recipe: the dataclass its `run` takes."""
    import typing

    kind: type[Any] = typing.get_type_hints(recipe.run)["settings"]
    return kind


def read_settings(kind: type[Any], words: Sequence[str]) -> dict[str, Any]:
    """Positional words and flags as plain nested values, the config file underneath.

    A recipe's `positionals` name the settings that its positional words fill, the last one all that are left if it
    ends in `...`; without, one is the config.
    """
    values, positional = _flags(words)
    names: tuple[str, ...] = getattr(kind, "positionals", ())
    filled: list[Any] = list(positional)
    if names and names[-1].endswith("..."):
        last = len(names) - 1
        filled[last:] = [filled[last:]] if filled[last:] else []
        names = (*names[:-1], names[-1].removesuffix("..."))
    if names:
        if len(filled) > len(names):
            raise UsageError(f"{len(filled)} words given, {len(names)} expected", next=" ".join(names).upper())
        return config.merge(values, dict(zip(names, filled, strict=False)))
    if len(positional) > 1:
        raise UsageError(f"{_visible(positional[1])!r} is one word too many", next=USAGE)
    base = config.load_yaml(Path(positional[0])) if positional else {}
    return config.merge(base, values)


def _flags(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    positional: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if not word.startswith("--"):
            positional.append(word)
            continue
        key, equals, value = word[2:].partition("=")
        if not equals:
            value = queue.pop(0) if queue and not queue[0].startswith("--") else "true"
        values = config.merge(values, config.nested(key, _listed(value)))
    return values, positional


def _listed(value: str) -> Any:
    """A flag's value: text, or a YAML list or mapping if it is written as one."""
    if not value.startswith(("[", "{")):
        return value
    import yaml

    with contextlib.suppress(yaml.YAMLError):
        return yaml.safe_load(value)
    raise UsageError("a list or mapping that is not valid YAML", where=_visible(value)[:60])


def _prepare_process() -> None:
    """Private files, no network, quiet libraries, our log lines on stderr."""
    os.umask(0o077)
    for name, value in (
        ("HF_HUB_DISABLE_TELEMETRY", "1"),
        ("TOKENIZERS_PARALLELISM", "true"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("TRANSFORMERS_VERBOSITY", "error"),
    ):
        os.environ.setdefault(name, value)
    import warnings

    warnings.simplefilter("ignore")
    logger = logging.getLogger("clinnlp")
    logger.setLevel(logging.ERROR if rank() else logging.INFO)
    logger.propagate = False
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Line())
        logger.addHandler(handler)


class _Line(logging.Formatter):
    """One event, one line, control characters shown."""

    def format(self, record: logging.LogRecord) -> str:
        level = "warning: " if record.levelno >= logging.WARNING else ""
        lines = record.getMessage().split("\n")
        return "\n".join(f"{level}{_visible(line)}" for line in lines)


def _visible(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", lambda m: ascii(m.group())[1:-1], text)


def _overview() -> str:
    lines = [f"clinnlp {VERSION}: carry a language model into a clinic", "", f"usage: {USAGE}", "", "verbs:"]
    width = max(map(len, verbs()))
    for verb in verbs():
        kind = settings_of(recipe_of(verb))
        lines.append(f"  {verb:<{width}} {plugins.meaning(kind)}")
    return "\n".join(
        [
            *lines,
            "",
            "clinnlp VERB --help lists the settings of a verb; each is a key of its config too.",
            "With --errors json an error is one JSON object on the last line of stderr.",
        ]
    )


def _help(verb: str, kind: type[Any]) -> str:
    names = getattr(kind, "positionals", ("config.yaml",))
    shown = " ".join(f"[{name.upper()}]" for name in names)
    lines = [f"usage: clinnlp {verb} {shown} [--key.path value ...]", "", plugins.meaning(kind), "", "settings:"]
    for name, default, meaning in config.describe(kind):
        lines.append(f"  --{name}  ({default})")
        lines += textwrap.wrap(meaning, 96, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
