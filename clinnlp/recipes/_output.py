"""What every run leaves in its folder: settings and manifest."""

from pathlib import Path
from typing import Any

from clinnlp import config
from clinnlp.core.run import SETTINGS, Manifest, Run


def start_run(verb: str, settings: Any, out: Path, seed: int | None) -> Run:
    """A new run folder with its resolved settings. Raises InUseError if the folder is not empty."""
    return _start(verb, settings, out, seed, {}, resume=False)


def start_or_resume(verb: str, settings: Any, out: Path, seed: int | None, data: dict[str, str]) -> Run:
    """As `start_run`, but a folder with the same run, unfinished, is gone on with.

    `data` are the content hashes. Raises ChangedError, naming what differs, if the unfinished run is another.
    """
    return _start(verb, settings, out, seed, data, resume=True)


def settings_yaml(verb: str, values: dict[str, Any]) -> str:
    """The resolved settings of a run as `settings.yaml` holds them."""
    import yaml

    return f"# clinnlp {verb} settings.yaml\n" + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _start(verb: str, settings: Any, out: Path, seed: int | None, data: dict[str, str], resume: bool) -> Run:
    values = config.plain(settings)
    run = Run(out, Manifest(verb, values, config.fingerprint(settings), seed, data), resume)
    (out / SETTINGS).write_text(settings_yaml(verb, values), encoding="utf-8")
    return run
