"""The report of a self-training: silver notes by label, the same rule on dev, teacher and student on test."""

from collections.abc import Mapping, Sequence
from typing import Any

from clinnlp.core.report import Report
from clinnlp.core.run import Run, write_json
from clinnlp.recipes._scores import provenance

Rows = list[tuple[str, ...]]

DEV = (
    "On dev: what the same rule keeps of dev notes, beside their gold. Dev calibrated the scores and chose the weights "
    "too: expect less precision on unlabeled notes, and less still on notes of another kind"
)
DENIED = (
    "Gold of the dev notes that are kept is held (kept as it is), masked (a doubted stretch touches it) or denied (the "
    "student would be taught that it is nothing, or another span); of note labels all that is not held is denied"
)


def write_report(
    run: Run, notes: Mapping[str, Any], found: Mapping[str, Any], compared: Mapping[str, Any], waived: Sequence[str]
) -> dict[str, Any]:
    """Write metrics.json, report.txt and report.html; returns the facts of the run.

    `found` holds `silver`, `dev` and `calibration`, `compared` is the metrics.json of compare.
    """
    from clinnlp.evaluation.page import Surroundings, html_report
    from clinnlp.evaluation.panels import Panel, Table
    from clinnlp.evaluation.rendering import above, printable

    scores = _scores(compared)
    silver, settings = found["silver"], run.manifest.settings
    rule = (
        f"Kept from a calibrated probability of {settings['keep']:g}, taken as absent up to {settings['absent']:g}; "
        f"calibration: {found['calibration']}"
    )
    values = {"format_version": 1, "waived": list(waived), "notes": dict(notes), **found, "scores": scores}
    write_json(run.folder / "metrics.json", values)
    tables = {"Notes": _notes(notes, silver), "Silver": _silver(silver, found["dev"]), "Scores": _table(scores)}
    told = [rule, DEV, DENIED, *_differences(scores)]
    text = above(waived)
    text += "\n".join(_text(rows) for rows in tables.values()) + "\n" + "".join(f"{printable(one)}.\n" for one in told)
    panels = [Panel(title, (), (Table(rows[0], tuple(rows[1:])),)) for title, rows in tables.items()]
    known, shown = provenance(run)
    page = html_report(Report(), "clinnlp selftrain", Surroundings(known, shown, waived, told), panels)
    (run.folder / "report.txt").write_text(text, encoding="utf-8")
    (run.folder / "report.html").write_text(page, encoding="utf-8")
    return {"silver notes": silver["kept"], "gold notes": notes["gold"], "scores": scores}


def _scores(compared: Mapping[str, Any]) -> dict[str, Any]:
    """By part and measure: both scores with intervals, and their difference with its interval and p."""
    found: dict[str, Any] = {}
    for part in ("entity", "notes"):
        for measure, values in compared.get(part, {}).items():
            if isinstance(values, dict) and "pairs" in values and values["pairs"]:
                pair = values["pairs"][0]
                sign = 1 if pair["first"] == "student" else -1
                told = {name: values["runs"][name] for name in ("teacher", "student")}
                difference = None if pair["difference"] is None else sign * pair["difference"]
                interval = pair["interval"] and _turned(pair["interval"], sign)
                found[f"{part} {measure}"] = {**told, "difference": difference, "interval": interval, "p": pair["p"]}
    return found


def _turned(interval: Mapping[str, Any], sign: int) -> dict[str, Any]:
    ends = sorted((sign * interval["low"], sign * interval["high"]))
    return {**interval, "low": ends[0], "high": ends[1]}


def _notes(notes: Mapping[str, Any], silver: Mapping[str, Any]) -> Rows:
    masked = silver["masked"]
    share = f"{masked['characters'] / masked['of']:.1%}" if masked["of"] else "-"
    return [
        ("notes", ""),
        ("gold", f"{notes['gold']:,}"),
        ("each of them as often", f"{notes['gold_times']:,}"),
        ("dev", f"{notes['dev']:,}"),
        ("test", f"{notes['test']:,}"),
        ("unlabeled", f"{notes['unlabeled']:,}"),
        *((f"  left out: {name}", f"{count:,}") for name, count in notes["left_out"].items()),
        ("  read by the teacher", f"{silver['read']:,}"),
        ("silver", f"{silver['kept']:,}"),
        ("characters of silver notes masked", share),
        ("epochs of the student", f"{notes['student_epochs']:g}"),
    ]


def _silver(silver: Mapping[str, Any], dev: Mapping[str, Mapping[str, Any]]) -> Rows:
    counts: dict[str, int] = {**silver["spans"], **silver["labels"]}
    rows: Rows = [("label", "silver", "kept on dev", "precision", "95 % interval", "gold held", "masked", "denied")]
    for name in [*sorted({*counts, *dev} - {"all"}), "all"]:
        own = dev.get(name, {})
        number = sum(counts.values()) if name == "all" else counts.get(name, 0)
        precision, interval = own.get("precision"), own.get("interval")
        fates = [f"{own.get(fate, 0):,}" for fate in ("held", "masked", "denied")]
        shown = "-" if precision is None else f"{precision:.3f}"
        between = "-" if interval is None else f"{interval[0]:.3f}-{interval[1]:.3f}"
        rows.append((name, f"{number:,}", f"{own.get('kept', 0):,}", shown, between, *fates))
    return rows


def _table(scores: Mapping[str, Any]) -> Rows:
    rows: Rows = [("score", "teacher", "95 % interval", "student", "95 % interval")]
    for name, held in scores.items():
        cells = [(_number(held[who]["value"]), _ends(held[who]["interval"])) for who in ("teacher", "student")]
        rows.append((name.replace("_", " "), *cells[0], *cells[1]))
    return rows


def _differences(scores: Mapping[str, Any]) -> list[str]:
    told = []
    for name, held in scores.items():
        p = "-" if held["p"] is None else f"{held['p']:.4f}"
        by = "-" if held["difference"] is None else f"{held['difference']:+.4f}"
        told.append(f"Student less teacher, {name.replace('_', ' ')}: {by} ({_ends(held['interval'])}), p {p}")
    return told


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _ends(interval: Mapping[str, Any] | None) -> str:
    return "-" if interval is None else f"{interval['low']:.4f} to {interval['high']:.4f}"


def _text(rows: Rows) -> str:
    from clinnlp.evaluation.comparison_report import text_table
    from clinnlp.evaluation.rendering import printable

    return text_table(rows[0], [[printable(cell) for cell in row] for row in rows[1:]], 1)
