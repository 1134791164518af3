"""What every run leaves in its folder: settings, manifest and reports."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clinnlp import config
from clinnlp.core.run import SETTINGS, Manifest, Run, write_json

if TYPE_CHECKING:
    from clinnlp.core.report import Report


def start_run(verb: str, settings: Any, out: Path, seed: int | None) -> Run:
    """A new run folder with its resolved settings. Raises InUseError if the folder is not empty."""
    return _start(verb, settings, out, seed, {}, resume=False)


def start_or_resume(verb: str, settings: Any, out: Path, seed: int | None, data: dict[str, str]) -> Run:
    """As `start_run`, but a folder with the same run, unfinished, is gone on with.

    `data` are the content hashes. Raises ChangedError, naming what differs, if the unfinished run is another.
    """
    return _start(verb, settings, out, seed, data, resume=True)


def _start(verb: str, settings: Any, out: Path, seed: int | None, data: dict[str, str], resume: bool) -> Run:
    import yaml

    values = config.plain(settings)
    run = Run(out, Manifest(verb, values, config.fingerprint(settings), seed, data), resume)
    text = f"# clinnlp {verb} settings.yaml\n" + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    (out / SETTINGS).write_text(text, encoding="utf-8")
    return run


def write_report(folder: Path, report: "Report", title: str, facts: Mapping[str, Any]) -> None:
    """Write metrics.json, report.txt and report.html."""
    from clinnlp.evaluation.page import html_report
    from clinnlp.evaluation.rendering import text_report

    write_json(folder / "metrics.json", report.as_dict())
    named = {name: str(value) for name, value in facts.items()}
    (folder / "report.txt").write_text(text_report(report), encoding="utf-8")
    (folder / "report.html").write_text(html_report(report, title, named), encoding="utf-8")
