"""What each compared run was given: a baseline with fewer steps, fewer notes or another tokenizer proves nothing."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from clinnlp.core.run import sha256_files
from clinnlp.recipes._runs import StoredRun

SHAPE = ("model_type", "num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
Budget = Mapping[str, str | None]


def budget_of(run: StoredRun) -> Budget:
    """Training notes, steps, windows a step, window, start, architecture and tokenizer; None where not recorded."""
    facts, settings = run.trained.get("facts", {}), run.trained.get("settings") or {}
    fit, task = settings.get("fit") or {}, settings.get("task") or {}
    windows = fit["batch"] * fit.get("accumulate", 1) if "batch" in fit else None
    start = None
    if settings:
        start = "base weights" if settings.get("base") is not None else "random weights"
    return {
        "train notes": _number(facts.get("train notes")),
        "steps": _number(facts.get("steps")),
        "windows a step": _number(windows),
        "window": _number(task.get("window")),
        "architecture": _architecture(run),
        "tokenizer": _tokenizer(run),
        "starts from": start,
    }


def budget_verdict(arms: Mapping[str, Sequence[Budget]]) -> tuple[bool | None, str]:
    """Whether all arms had the same budget, None if that is not known of all, and a sentence that says so.

    What they start from is shown and does not count: that is what such a comparison is about.
    """
    names = [name for name in next(iter(arms.values()))[0] if name != "starts from"]
    held = {name: {arm: {one[name] for one in budgets} for arm, budgets in arms.items()} for name in names}
    differ = []
    for name, by_arm in held.items():
        values = set().union(*by_arm.values()) - {None}
        if len(values) > 1:
            told = ", ".join(f"{arm} {_joined(said)}" for arm, said in by_arm.items())
            differ.append(f"{name}: {told}")
    if differ:
        told = "; ".join(differ)
        return False, f"The arms were not trained with the same budget, so their difference is also one of {told}"
    unknown = [name for name, by_arm in held.items() if any(None in said for said in by_arm.values())]
    if unknown:
        return None, f"Whether the arms had the same budget is not recorded for: {', '.join(unknown)}"
    shown = ", ".join(f"{name} {_joined(set().union(*by_arm.values()))}" for name, by_arm in held.items())
    return True, f"All arms were trained with the same budget: {shown}"


def _architecture(run: StoredRun) -> str | None:
    path = run.model / "config.json"
    if not path.is_file():
        return None
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    known = [config.get(name) for name in SHAPE]
    if known[0] is None:
        return None
    return f"{known[0]} of {known[1]} layers, {known[2]} wide" if None not in known[:3] else str(known[0])


def _tokenizer(run: StoredRun) -> str | None:
    path = run.model / "tokenizer.json"
    return sha256_files([path])[:12] if path.is_file() else None


def _number(value: Any) -> str | None:
    return None if value is None else f"{value:,}"


def _joined(values: set[str | None]) -> str:
    return " or ".join(sorted("not recorded" if value is None else value for value in values))
