"""What audits tell, as text and as panels of a page: findings first, then titled tables and sentences."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clinnlp.evaluation.panels import Panel

Block = str | Sequence[Sequence[str]]
"""A line of text ("" before a title), or a table with its heads."""


def blocks_text(findings: Iterable[str], blocks: Iterable[Block]) -> str:
    """The text of report.txt."""
    lines = ["Found:", *(f"- {line}" for line in findings)]
    before: Block = ""
    for block in blocks:
        if isinstance(block, str):
            lines.append(block)
        else:
            lines += [*([] if isinstance(before, str) else [""]), *_table(block)]
        before = block
    return "\n".join(lines) + "\n"


def blocks_panels(findings: Iterable[str], blocks: Iterable[Block]) -> "list[Panel]":
    """The same as panels of the page: a panel for each title, its tables and sentences."""
    from clinnlp.evaluation.panels import Panel, Table

    panels = [Panel("Found", tuple(findings))]
    held = list(blocks)
    starts = [number for number, block in enumerate(held) if block == ""]
    for start, end in zip(starts, [*starts[1:], len(held)], strict=True):
        title, *rest = held[start + 1 : end]
        facts = tuple(block.rstrip(".") for block in rest if isinstance(block, str))
        rows = [[tuple(row) for row in block] for block in rest if not isinstance(block, str)]
        panels.append(Panel(str(title), facts, tuple(Table(heads, tuple(some)) for heads, *some in rows)))
    return panels


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        yield "  ".join(cells).rstrip()
