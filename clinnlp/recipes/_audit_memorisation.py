"""What an audit of memorisation tells: report, page, and the card of the model with the figures in it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clinnlp.core.run import Run
from clinnlp.errors import StorageError
from clinnlp.recipes._audit_blocks import Block, blocks_panels, blocks_text
from clinnlp.recipes._scores import provenance

Facts = Mapping[str, Any]
FEW = 100  # held-out notes under which a rate of 1 % allows no false alarm
FEW_UNITS = 50  # groups under which bootstrap intervals are too narrow: see docs/statistics.md
CARD = "model_card.md"
TITLE = "## Memorisation audit"
BARE = "---\nlibrary_name: transformers\npipeline_tag: fill-mask\ntags: [clinnlp, clinical]\n---\n\n# Encoder\n"
HOW = {"loss": "loss", "ratio": "ratio to the reference", "reference": "reference alone (control)"}
RATIO = "beside the reference"
LIMIT = (
    "A low figure does not prove that nothing was learned by heart: stronger attacks exist, and single notes can be "
    "known where the average is not"
)


def write_report(run: Run, facts: Facts, model: Path, into_folder: bool) -> str:
    """Write report.txt, report.html and model_card.md, which may replace the model folder's own; returns the text."""
    from clinnlp.core.report import Report
    from clinnlp.evaluation.page import Surroundings, html_report

    told, blocks = list(findings(facts)), list(_blocks(facts))
    text = blocks_text(told, blocks)
    (run.folder / "report.txt").write_text(text, encoding="utf-8")
    known, plain = provenance(run)
    page = html_report(Report(), "clinnlp audit memorisation", Surroundings(known, plain), blocks_panels(told, blocks))
    (run.folder / "report.html").write_text(page, encoding="utf-8")
    own = model / "README.md"
    card = with_section(own.read_text(encoding="utf-8") if own.is_file() else BARE, section(facts))
    (run.folder / CARD).write_text(card, encoding="utf-8")
    if into_folder:
        _replace(own, card)
    return text


def findings(facts: Facts) -> Iterator[str]:
    """What was found, in sentences."""
    for unit, attacks in facts["attacks"].items():
        for how in ("ratio", "loss"):
            if how in attacks:
                yield _verdict(unit, how, attacks[how])
    if facts["why_no_groups"]:
        yield f"patients were not looked at: {facts['why_no_groups']}"
    control = facts["attacks"]["note"].get("reference")
    if control and _side(control):
        yield (
            "train and held-out notes differ in kind: the reference alone tells them apart with AUC "
            f"{_figure(control, 'auc')}; read the ratio, not the loss"
        )
    if facts["canaries"]:
        yield from (_exposed(row, facts["canaries"]) for row in _levels(facts["canaries"]))
    others = facts["notes"]["heldout"]
    if others < FEW:
        yield f"{others} held-out notes only: a rate of 1 % then allows no false alarm at all, and few notes say little"
    interval = facts["attacks"]["note"]["loss"]["auc_interval"]
    if interval and interval["units"] < FEW_UNITS:
        yield f"{interval['units']} {interval['unit']}s only: intervals of so few are too narrow"


def section(facts: Facts) -> str:
    """The part of a model card, in Markdown."""
    notes, weights = facts["notes"], facts["weights"]
    told = f"{notes['train']:,} training and {notes['heldout']:,} held-out notes"
    lines = [
        TITLE,
        "",
        f"Of the weights with sha256 `{weights['model']}`, on {told}, by `clinnlp audit memorisation`.",
        "",
    ]
    for rows in (_attack_rows(facts), *_canary_tables(facts)):
        heads, *others = rows
        lines += [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        lines += [*(f"| {' | '.join(row)} |" for row in others), ""]
    return "\n".join([*lines, f"{LIMIT}.", ""])


def with_section(card: str, part: str) -> str:
    """A model card with the audit as its last section, in the place of an earlier one."""
    before, found, after = card.partition(f"{TITLE}\n")
    if found:
        _, other, rest = after.partition("\n## ")
        before += other.lstrip("\n") + rest
    before = before.replace(", memorisation audit: not provided", ": not provided")
    return f"{before.rstrip()}\n\n{part}"


def _replace(own: Path, card: str) -> None:
    """Replace the README.md of a model folder, whole or not at all; no hash of clinnlp covers it."""
    aside = own.with_name(".README.md.tmp")
    try:
        aside.write_text(card, encoding="utf-8")
        aside.replace(own)
    except OSError as error:
        raise StorageError(
            f"the card cannot be written ({error.strerror})", where=str(own), next=f"copy {CARD} of the run"
        ) from None


def _blocks(facts: Facts) -> Iterator[Block]:
    yield from ("", "Membership inference", _attack_rows(facts))
    yield "AUC: 0.5 is guessing, 1 knows every note. Found at 1 %: share of the trained ones found at 1 % false alarms."
    yield from ("", "Mean loss of a masked token")
    yield [("", "train", "held out")] + [
        (what, f"{loss['train']:.4f}", f"{loss['heldout']:.4f}") for what, loss in facts["loss"].items()
    ]
    for rows in _canary_tables(facts):
        yield from ("", f"Planted canaries, of {facts['canaries']['most_bits']:.1f} bits at most", rows)
        yield f"A secret that is not known has {facts['canaries']['chance_bits']:.2f} bits on average."
    rows = [("", "notes")] + [(name.replace("_", " "), f"{count:,}") for name, count in facts["notes"].items()]
    yield from ("", "Notes", rows)
    yield f"{facts['draws']} draws of masks, {facts['masked_tokens']:,} masked tokens"
    yield f"{LIMIT}."


def _attack_rows(facts: Facts) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("attack", "by", "trained", "held out", "AUC", "found at 1 %")]
    for unit, attacks in facts["attacks"].items():
        for how, made in attacks.items():
            sizes = (f"{made['members']:,}", f"{made['others']:,}")
            rows.append((HOW[how], unit, *sizes, _figure(made, "auc"), _figure(made, "tpr")))
    return rows


def _canary_tables(facts: Facts) -> Iterator[list[tuple[str, ...]]]:
    if facts["canaries"] is None:
        return
    heads = {"likelihood": "exposure in bits", "ratio": RATIO}
    held = list(_levels(facts["canaries"]))
    rows: list[tuple[str, ...]] = [("planted", "secrets", *(heads[how] for how in held[0]), "first of all")]
    for row in held:
        level = row["likelihood"]
        cells = (f"{one['bits']:.2f}{_reach(one['interval'], '.2f')}" for one in row.values())
        rows.append((_times(level), f"{level['canaries']:,}", *cells, f"{level['first']:,}"))
    yield rows


def _verdict(unit: str, how: str, made: Facts) -> str:
    words = {
        1: "TRAINED NOTES CAN BE TOLD",
        0: "trained notes are not told from others",
        -1: "held-out notes look trained on and train notes do not, so they differ in kind",
    }[_side(made)]
    figures = f"AUC {_figure(made, 'auc')}, found at 1 % false alarms {_figure(made, 'tpr')}"
    return f"{words} by {HOW[how]} ({unit} level): {figures}"


def _side(made: Facts) -> int:
    """1 if the interval of the AUC lies above 0.5, -1 if below, else 0."""
    interval = made["auc_interval"]
    return 0 if interval is None else int(interval["low"] > 0.5) - int(interval["high"] < 0.5)


def _exposed(row: Mapping[str, Facts], canaries: Facts) -> str:
    """How exposed secrets are that were planted equally often; by the ratio, where there is one, too."""
    level = row["likelihood"]
    bits = f"{level['bits']:.2f}{_reach(level['interval'], '.2f')} of {canaries['most_bits']:.1f} bits"
    if ratio := row.get("ratio"):
        bits += f", {ratio['bits']:.2f}{_reach(ratio['interval'], '.2f')} {RATIO}"
    first = f"{level['first']:,} of {level['canaries']:,} before every candidate"
    return f"secrets planted {_times(level)}: exposure {bits}; {first}"


def _levels(canaries: Facts) -> Iterator[dict[str, Facts]]:
    """Exposures of each number of repeats: by likelihood and, with a reference, by the ratio."""
    levels = canaries["exposure"]
    yield from (dict(zip(levels, row, strict=True)) for row in zip(*levels.values(), strict=True))


def _times(level: Facts) -> str:
    times = level["repeats"]
    return "never" if not times else "once" if times == 1 else f"{times:,} times"


def _figure(made: Facts, name: str) -> str:
    form = ".3f" if name == "auc" else ".1%"
    return f"{made[name]:{form}}{_reach(made[f'{name}_interval'], form)}"


def _reach(interval: Mapping[str, float] | None, form: str) -> str:
    return "" if interval is None else f" ({interval['low']:{form}} to {interval['high']:{form}})"
