"""What a pretraining run tells: its report as text and page, and the card of the model it made."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clinnlp.recipes._audit_blocks import blocks_panels, blocks_text
from clinnlp.recipes._audit_shift import shift_blocks
from clinnlp.recipes._pretraining_measures import ENTITIES, MASKED, NOTES, PROBE, SOURCE
from clinnlp.version import VERSION

if TYPE_CHECKING:
    from clinnlp.evaluation.panels import Axis, Panel

HEAD = ("measured", "before", "after", "targets")
SHIFT = "how far the notes (target) lie from the source text (source)"
PARTS = 4  # of an axis


def write_report(folder: Path, facts: Mapping[str, Any], shown: Mapping[str, str]) -> None:
    """Write report.txt and report.html; `facts` are those of metrics.json, `shown` what else a reader must know."""
    from clinnlp.core.report import Report
    from clinnlp.evaluation.page import html_report

    (folder / "report.txt").write_text("\n".join(_lines(facts, shown)) + "\n", encoding="utf-8")
    page = html_report(Report(), "clinnlp pretrain", shown, list(_panels(facts)))
    (folder / "report.html").write_text(page, encoding="utf-8")


def write_card(folder: Path, base: str, facts: Mapping[str, Any], notes: Mapping[str, int]) -> None:
    """Write README.md of a model folder; what is not known says `not provided`."""
    from clinnlp.evaluation.rendering import code

    rows = list(_rows(facts))
    measured = "\n".join(f"| {' | '.join(row)} |" for row in (HEAD, ("---",) * len(HEAD), *rows))
    masked = "fill-mask" if any(name in MASKED for name in facts["held_out"]) else "feature-extraction"
    text = f"""---
library_name: transformers
pipeline_tag: {masked}
tags: [clinnlp, clinical]
---

# Encoder pretrained by clinnlp {VERSION}

- Base model: {code(base)}
- Training text: {_texts(notes)}, {facts["tokens"]:,} tokens; {facts["steps"]:,} steps
- Source, language and licence of the training text, intended use, memorisation audit: not provided

Measured on {notes["held_out"]:,} notes that were held out; what is hidden is the same before and after:

{measured}

Perplexities under different vocabularies cannot be compared. Parts of the notes may have been learned by heart: until
that was measured, treat the weights as you treat the notes.
"""
    (folder / "README.md").write_text(text, encoding="utf-8")


def _texts(notes: Mapping[str, int]) -> str:
    """What was trained on, in words."""
    replayed = f" and {notes['replayed']:,} texts like those of the base" if notes.get("replayed") else ""
    return f"{notes['train']:,} distinct notes{replayed}"


def _rows(facts: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """The figures before and after, a row for each; see HEAD."""
    for name, held in facts["held_out"].items():
        if name == ENTITIES:
            told, score, form = "held-out notes, entity tokens guessed right", "accuracy", "{:.1%}"
        elif name == PROBE:
            told, score, form = f"labeled notes, {held['what']}", "score", "{:.4f}"
        elif name in MASKED:
            told, score, form = f"{MASKED[name]}, masked-LM perplexity", "perplexity", "{:,.2f}"
        else:
            told, score, form = f"held-out notes, loss of {name}", "loss", "{:,.4f}"
        before, after = (form.format(held[f"{score}_{when}"]) for when in ("before", "after"))
        yield told, before, after, f"{held['targets']:,}"


def _lines(facts: Mapping[str, Any], shown: Mapping[str, str]) -> Iterator[str]:
    for row in (HEAD, *_rows(facts)):
        yield f"{row[0]:<60}{row[1]:>12}{row[2]:>12}{row[3]:>12}"
    yield ""
    yield from (f"{sentence}." for sentence in _sentences(facts))
    yield ""
    yield from (f"{name}: {value}" for name, value in shown.items())
    if facts["shift"]:
        yield blocks_text([SHIFT], shift_blocks(facts["shift"]))


def _sentences(facts: Mapping[str, Any]) -> Iterator[str]:
    held = facts["held_out"]
    for name, told in ((NOTES, "as a masked LM the model knows these notes less than before"), (SOURCE, "forgotten")):
        if name in held:
            gain = held[name]["loss_before"] - held[name]["loss_after"]
            better = "lower" if gain >= 0 else f"HIGHER: {told}"
            yield f"The loss of a masked token of {MASKED[name]} is {abs(gain):.4f} nats {better}"
    if facts["vocabulary"]["added"]:
        before, after = (facts["vocabulary"][when]["tokens_per_word"] for when in ("before", "after"))
        yield f"{facts['vocabulary']['added']:,} words became tokens: {before:.2f} tokens a word, now {after:.2f}"
    fill = f"{100 * facts['fill']:.0f} % full, {'packed' if facts['packed'] else 'not packed'}"
    yield f"{facts['tokens']:,} tokens in {facts['rows']:,} rows of {facts['row_size']} ({fill})"
    speed = f"{facts['tokens_per_second']:,.0f} tokens/s on {facts['device']} in {facts['precision']}"
    yield f"{facts['steps']:,} steps in {facts['train_seconds']:,.0f} s: {speed}"


def _panels(facts: Mapping[str, Any]) -> Iterator["Panel"]:
    from clinnlp.evaluation.panels import Chart, Line, Panel, Point, Table

    yield Panel("Before and after", tuple(_sentences(facts)), (Table(HEAD, tuple(_rows(facts))),))
    if facts["shift"]:
        _, *panels = blocks_panels([], shift_blocks(facts["shift"]))
        yield from (replace(panel, title=f"From source text to notes: {panel.title}") for panel in panels)
    rows = [row for row in facts["history"] if "loss" in row]
    if len(rows) > 1:
        points = tuple(Point(r["step"], r["loss"], caption=f"step {r['step']}: {r['loss']:.4f}") for r in rows)
        losses = [point.y for point in points]
        steps = _axis("step", rows[0]["step"], rows[-1]["step"], 0)
        chart = Chart(steps, _axis("loss", min(losses), max(losses), 2), (Line("training loss", points),))
        table = Table(
            ("step", "loss", "learning rate"),
            tuple((f"{r['step']:,}", f"{r['loss']:.4f}", f"{r['learning_rate']:.2e}") for r in rows),
        )
        told = "Mean loss of the steps since the point before; the share of tokens to guess may change on the way"
        yield Panel("Training loss", (told,), (table,), (chart,))


def _axis(name: str, low: float, high: float, digits: int) -> "Axis":
    """An axis whose numbers stand where their printed digits say."""
    from clinnlp.evaluation.panels import Axis

    places = [low + (high - low) * part / PARTS for part in range(PARTS + 1)]
    marked = dict.fromkeys(round(place, digits) for place in places if math.isfinite(place))
    return Axis(name, low, high, tuple((at, f"{at:,.{digits}f}") for at in marked if low <= at <= high))
