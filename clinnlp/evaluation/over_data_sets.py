"""Arms over several data sets, as text and as a panel of the page."""

from collections.abc import Mapping, Sequence

from clinnlp.evaluation.panels import Bar, Cell, Panel, Table
from clinnlp.evaluation.rendering import DIGITS, printable
from clinnlp.evaluation.significance import Outcome

Scores = Mapping[str, Mapping[str, float]]
"""By data set: the score of each arm."""
Pair = tuple[str, str, Outcome, float]
"""Two arms, the test of their difference, and p adjusted over all pairs."""


def over_text(scores: Scores, measure: str, pairs: Sequence[Pair]) -> str:
    """A row per data set, then a sentence per pair of arms."""
    arms = list(next(iter(scores.values())))
    widths = [max(len(printable(arm)), 8) for arm in arms]
    first = max(len(printable(name)) for name in [*scores, measure])
    heads = "  ".join(printable(arm).rjust(width) for arm, width in zip(arms, widths, strict=True))
    lines = [f"{printable(measure):<{first}}  {heads}", ""]
    for name, held in scores.items():
        cells = "  ".join(f"{held[arm]:>{width}.{DIGITS}f}" for arm, width in zip(arms, widths, strict=True))
        lines.append(f"{printable(name):<{first}}  {cells}")
    return "\n".join([*lines, "", *(f"{printable(fact)}." for fact in over_facts(pairs))]) + "\n"


def over_facts(pairs: Sequence[Pair]) -> list[str]:
    """What the tests say, in sentences."""
    return [
        f"{first} minus {second} over {found.units} data sets: median difference {found.difference:+.{DIGITS}f}, "
        f"{found.test} p = {found.p:.4f}" + (f", Holm {p:.4f}" if len(pairs) > 1 else "")
        for first, second, found, p in pairs
    ]


def over_panel(scores: Scores, measure: str, pairs: Sequence[Pair]) -> Panel:
    """The scores side by side and what the tests say."""
    arms = list(next(iter(scores.values())))
    rows: list[tuple[Cell, ...]] = [(name, *(Bar(held[arm]) for arm in arms)) for name, held in scores.items()]
    heads = (f"data set ({measure})", *(f"{arm}, %" for arm in arms))
    return Panel("Over data sets", tuple(over_facts(pairs)), (Table(heads, tuple(rows)),))
