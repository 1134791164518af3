"""The report of an audit: what was found, the worst first, then every count."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clinnlp.evaluation.rendering import printable
from clinnlp.recipes._audit_blocks import Block, blocks_panels, blocks_text
from clinnlp.recipes._leaks import sentence
from clinnlp.text.identified import CREDENTIALED
from clinnlp.text.leaks import Leak

if TYPE_CHECKING:
    from clinnlp.evaluation.panels import Panel

Found = Mapping[str, Any]
SHOWN = 30  # rows of a table of labels


def audit_report(found: Found) -> str:
    """The text of report.txt; no note text, no document ids."""
    return blocks_text(findings(found), _blocks(found))


def audit_panels(found: Found) -> "list[Panel]":
    """The same as panels of the page: a panel for each title, its tables and sentences."""
    return blocks_panels(findings(found), _blocks(found))


def findings(found: Found) -> list[str]:
    """What was found, the worst first."""
    return [*_leaks(found), *_warnings(found)] or ["nothing of what the audit looks for"]


def _blocks(found: Found) -> Iterator[Block]:
    for section in (_notes, _duplicates, _pretraining, _identified, _windows, _noise, _label_table):
        yield from section(found)


def _leaks(found: Found) -> Iterator[str]:
    """What finetune and evaluate refuse, then what they warn about."""
    leaks = [Leak(**leak) for leak in found["leaks"]]
    yield from (f"LEAK: {sentence(leak)}" for leak in leaks if leak.kind != "short texts")
    yield from (sentence(leak) for leak in leaks if leak.kind == "short texts")


def _warnings(found: Found) -> Iterator[str]:
    """What else a person should know before training."""
    for pair, row in found["duplicates"]["near"]["across"].items():
        first, second = pair.split("/")
        if count := row[f"notes of {second}"]:
            yield f"notes of {second} with a near-duplicate in {first}: {count:,}"
    yield from _text_warnings(found)
    for what, row in found["conflicts"].items():
        if row["texts"]:
            notes = _count(row["notes"], "note")
            yield f"copies of {row['texts']:,} of {row['of']:,} distinct texts differ in their {what} ({notes})"
    for name, row in ((found["pretraining"] or {}).get("splits") or {}).items():
        if row["exact"] or row["near"] or row["half seen"]:
            yield (
                f"the pretraining corpus holds {row['exact']:,} of {_count(row['notes'], 'note')} of {name}, "
                f"near-duplicates of {row['near']:,} more, and {row['runs seen']:,} of their {row['runs']:,} runs of "
                "8 words"
            )
    for giveaway in found["giveaways"]:
        yield (
            f"label {printable(giveaway['label'])!r}: {giveaway['kind']} in the text decides it "
            f"(AUROC {giveaway['auroc']:.3f}; {_count(giveaway['words'], 'such word')})"
        )
    yield from _data_warnings(found)


def _text_warnings(found: Found) -> Iterator[str]:
    for name, row in (found["times"] or {}).items():
        if row["late"]:
            yield f"notes of {name} written after the time of prediction: {row['late']:,} of {row['notes']:,}"
        if row["unknown"]:
            yield f"notes of {name} without two times that can be compared: {row['unknown']:,} of {row['notes']:,}"
    for name, row in found["wording"].items():
        if row["foreign"]:
            yield (
                f"notes of {name} that share few words with train (another language, or another kind of text): "
                f"{row['foreign']:,} of {row['notes']:,}"
            )


def _data_warnings(found: Found) -> Iterator[str]:
    marks = {kind for row in found["identified"].values() for kind in row}
    if credentialed := [kind for kind in CREDENTIALED if kind in marks]:
        yield (
            f"text that looks credentialed ({'; '.join(credentialed)}): check what the data use agreement allows to "
            "be done with these notes and with models trained on them"
        )
    if identified := sorted(marks - set(CREDENTIALED)):
        yield f"text that looks identified: {'; '.join(identified)}"
    splits = found["splits"]
    for key, what in (("span labels", "span"), ("labels", "note")):
        for name, row in splits.items():
            unseen = set(row[key]) - set(splits["train"][key]) if "train" in splits else set()
            if unseen:
                yield f"{what} labels of {name} that train lacks: {_names(sorted(unseen))}"
    for name, row in splits.items():
        if row["empty"]:
            yield f"{name}: {_count(row['empty'], 'note')} without text"
        if row["repeated ids"]:
            yield f"{name}: {_count(row['repeated ids'], 'note')} with the id of another, which training refuses"
    for name, row in (found["windows"] or {}).items():
        if row["notes beyond"]:
            notes, spans = _count(row["notes beyond"], "note"), _count(row["spans beyond"], "span")
            yield (
                f"{name}: {notes} and {spans} beyond one window of {row['window']} tokens: a tool that truncates would "
                "lose them, clinnlp reads them in further windows"
            )
    if found["quarantined"]:
        yield f"{_count(found['quarantined'], 'record')} that cannot be read: see quarantine.jsonl"


def _notes(found: Found) -> Iterator[Block]:
    rows = [("", *found["splits"])]
    for key in ("notes", "groups", "empty", "spans", "notes without spans", "notes without labels"):
        rows.append((key, *("-" if (n := row[key]) is None else f"{n:,}" for row in found["splits"].values())))
    for key in ("min", "p5", "median", "p95", "max"):
        rows.append((f"characters, {key}", *(_whole(row["characters"][key]) for row in found["splits"].values())))
    for key in ("discontinuous", "repeated", "several labels", "nested pairs", "crossing pairs"):
        if any(row["structure"][key] for row in found["splits"].values()):
            rows.append((f"spans: {key}", *(f"{row['structure'][key]:,}" for row in found["splits"].values())))
    yield from ("", "Notes", rows)


def _duplicates(found: Found) -> Iterator[Block]:
    exact, plain, near = (found["duplicates"][key] for key in ("verbatim", "normalised", "near"))
    rows: list[Sequence[str]] = [
        ("", "notes with text", "distinct texts", "repeated", "up to case and blanks", "with a near-duplicate")
    ]
    for name, row in exact["within"].items():
        counts = (row["notes"], row["distinct"], row["repeated"], plain["within"][name]["repeated"])
        rows.append((f"within {name}", *(f"{n:,}" for n in (*counts, near["within"][name]["notes"]))))
    yield from ("", "Repeated texts", rows)
    if not exact["across"]:
        return
    rows = [("splits", "equal texts", "up to case and blanks", "notes of the second", "with a near-duplicate")]
    for pair, row in exact["across"].items():
        second = pair.split("/")[1]
        notes = plain["across"][pair]
        shown = (row["texts"], notes["texts"], notes[f"notes of {second}"], near["across"][pair][f"notes of {second}"])
        rows.append((pair.replace("/", " and "), *(f"{n:,}" for n in shown)))
    yield rows
    yield (
        "Near-duplicates: Jaccard similarity of 5-word shingles of 0.8 or more, or a chain of such texts; "
        "exact copies are not among them."
    )


def _pretraining(found: Found) -> Iterator[Block]:
    if found["pretraining"] is None:
        return
    rows: list[Sequence[str]] = [
        ("", "notes", "held", "near-duplicates", "of 8 words or more", "half seen", "8-word runs", "of them seen")
    ]
    for name, row in found["pretraining"]["splits"].items():
        keys = ("notes", "exact", "near", "notes with runs", "half seen", "runs", "runs seen")
        rows.append((name, *(f"{row[key]:,}" for key in keys)))
    yield from (
        "",
        f"What the {found['pretraining']['notes']:,} notes of the pretraining corpus hold of",
        rows,
    )


def _identified(found: Found) -> Iterator[Block]:
    kinds = sorted({kind for row in found["identified"].values() for kind in row})
    rows = [("", *found["identified"])]
    for kind in kinds:
        rows.append((kind, *(_found(row.get(kind)) for row in found["identified"].values())))
    yield from ("", "Text that looks identified or credentialed: matches (notes)")
    yield rows if kinds else "none of the patterns matched; names and addresses are not looked for"


def _windows(found: Found) -> Iterator[Block]:
    if found["windows"] is None:
        return
    rows = [("", *found["windows"])]
    values = list(found["windows"].values())
    for key in ("tokens", "notes beyond", "spans", "spans beyond", "unrepresentable"):
        rows.append((key, *(f"{row[key]:,}" for row in values)))
    for key in ("median", "p95", "max"):
        rows.append((f"tokens per note, {key}", *(_whole(row["tokens per note"][key]) for row in values)))
    rows.append(("tokens per unit", *(_share(row["fertility"], "{:.2f}") for row in values)))
    rows.append(("unknown tokens", *(_share(row["unknown rate"], "{:.3%}") for row in values)))
    yield from ("", f"Tokens against one window of {values[0]['window']}", rows)


def _noise(found: Found) -> Iterator[Block]:
    noise = found["noise"]
    for what in ("spans", "labels"):
        if what not in noise:
            continue
        row = noise[what]
        yield from ("", f"Suspicious {'span' if what == 'spans' else 'note'} labels")
        if row["why_nothing"]:
            yield f"not judged: {row['why_nothing']}"
            continue
        where = " Places: suspects.jsonl" if row["suspects"] else ""
        yield (
            f"{row['suspects']:,} of {row['judged']:,} judged, in {_count(noise['notes read'], 'note')}; the model of "
            f"the other folds agrees on {row['agree']:,}; {row['left_out']:,} were not judged.{where}"
        )
        shown = [(_label(kind["given"]), _label(kind["predicted"]), f"{kind['count']:,}") for kind in row["kinds"]]
        if shown:
            yield [("given", "model", "count"), *shown[:SHOWN]]


def _label_table(found: Found) -> Iterator[Block]:
    for key, what in (("span labels", "Spans"), ("labels", "Notes")):
        totals: dict[str, int] = {}
        for row in found["splits"].values():
            for label, count in row[key].items():
                totals[label] = totals.get(label, 0) + count
        if not totals:
            continue
        ordered = sorted(totals, key=lambda label: (-totals[label], label))
        rows = [("", *found["splits"])]
        for label in ordered[:SHOWN]:
            rows.append((printable(label), *(f"{row[key].get(label, 0):,}" for row in found["splits"].values())))
        yield from ("", f"{what} by label", rows)
        if len(ordered) > SHOWN:
            yield f"and {_count(len(ordered) - SHOWN, 'rarer label')}: see metrics.json"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _label(name: str | None) -> str:
    return "(none)" if name is None else printable(name)


def _names(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - 10:,} more" if len(labels) > 10 else ""
    return ", ".join(printable(label) for label in labels[:10]) + more


def _found(row: Mapping[str, int] | None) -> str:
    return f"{row['matches']:,} ({row['notes']:,})" if row else "0"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _share(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
