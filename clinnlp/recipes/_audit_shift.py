"""What an audit of a shift tells: findings, the bound in plain words, and tables with intervals."""

from collections.abc import Iterator, Mapping
from typing import Any

from clinnlp.core.run import Run
from clinnlp.recipes._audit_blocks import Block, blocks_panels, blocks_text
from clinnlp.recipes._scores import provenance

Facts = Mapping[str, Any]
FEW_UNITS = 50  # groups under which bootstrap intervals are too narrow: see docs/statistics.md
ILL = 100  # condition number of a confusion matrix from which an estimate of shares means little
DIVERGENCE = (
    "What a classifier tells apart need not matter to the task, and what this one does not see may matter: the figure "
    "depends on features and classifier"
)
BY_CHANCE = (
    "What chance makes: where notes change sides at random, those of a group (patient) together, the distance is that "
    "or less in 95 of 100 cases. A distance over it is more than chance. It has no interval, as it is never under 0: "
    "the shares have theirs"
)
JOINT = (
    "What cannot be seen without labels of the target: whether the same words mean the same class there. The bound "
    "adds the error of the best single model for both sides, which is small where guidelines agree and large where "
    "they do not. 100 labeled target notes give a share of notes to about 10 points either way"
)


def write_report(run: Run, facts: Facts) -> str:
    """Write report.txt and report.html; returns the text."""
    from clinnlp.core.report import Report
    from clinnlp.evaluation.page import Surroundings, html_report

    told, blocks = list(findings(facts)), [*shift_blocks(facts), *_model_blocks(facts), *bound_blocks(facts)]
    text = blocks_text(told, blocks)
    (run.folder / "report.txt").write_text(text, encoding="utf-8")
    known, plain = provenance(run)
    page = html_report(Report(), "clinnlp audit shift", Surroundings(known, plain), blocks_panels(told, blocks))
    (run.folder / "report.html").write_text(page, encoding="utf-8")
    return text


def findings(facts: Facts) -> Iterator[str]:
    """What was found, in sentences."""
    yield _apart(facts["words"], "words")
    model = facts.get("model") or {}
    if vectors := model.get("vectors"):
        yield _apart(vectors, "vectors of the model")
    words = facts["vocabulary"]
    yield (
        f"running words of the target that no source note holds: {_share(words['unseen'])}; of a source note that no "
        f"other group's holds: {_share(words['usual'])}"
    )
    yield f"target notes are {_number(facts['length']['ratio'])} times as long as source notes, in words"
    for kind in ("labels", "spans"):
        if gold := facts.get(f"gold_{kind}"):
            yield f"shares of gold {kind} differ by {_distance(gold)} (0 % the same, 100 % none shared)"
    if perplexity := model.get("perplexity"):
        yield f"perplexity on the target is {_number(perplexity['ratio'])} times that on the source"
    elif "perplexity" in model:
        yield "the model has no masked-LM head, so there is no perplexity"
    predictions = model.get("predictions") or {}
    if why := predictions.get("why_no_risk"):
        yield f"source risk and shares of target classes were not estimated: {why}"
    estimated = predictions.get("estimated")
    if estimated and estimated["condition"] > ILL:
        condition = f"{estimated['condition']:,.0f}"
        yield f"estimated shares mean little: the model mixes up classes (condition number {condition})"
    if facts["notes"]["unit"] == "document":
        yield "no note names its patient (group): notes are taken as independent, and intervals may be too narrow"
    elif facts["notes"]["units"] < FEW_UNITS:
        yield f"{facts['notes']['units']} {facts['notes']['unit']}s only: intervals of so few are too narrow"


def shift_blocks(facts: Facts) -> Iterator[Block]:
    """Tables of `note_shift`, for any report that tells of a shift."""
    yield from ("", "Notes")
    rows = [("", "source", "target"), ("notes", *(f"{facts['notes'][side]:,}" for side in ("source", "target")))]
    rows.append(("words of a note, mean", *(_number(facts["length"][side]) for side in ("source", "target"))))
    yield rows
    for name, count in facts.get("left_out", {}).items():
        yield f"Left out, {name}: {count:,}."
    yield from ("", "How far source and target are told apart")
    yield from _divergence_rows({"words": facts["words"]})
    words = facts["vocabulary"]
    yield from ("", "Vocabulary")
    yield [
        ("", "share"),
        ("running words of the target that no source note holds", _share(words["unseen"])),
        ("running words of the source that one group alone holds", _share(words["usual"])),
        ("distinct words of the target that no source note holds", f"{words['unseen_types']:,} of {words['types']:,}"),
    ]
    for kind in ("labels", "spans"):
        if gold := facts.get(f"gold_{kind}"):
            yield from ("", f"Gold {kind}", _label_rows(gold))
            yield f"Total variation distance: {_distance(gold)}. {BY_CHANCE}."


def bound_blocks(facts: Facts) -> Iterator[Block]:
    """The terms of the bound of Ben-David et al. (2010), in plain words."""
    predictions = (facts.get("model") or {}).get("predictions") or {}
    risk = predictions.get("source_risk")
    spaces = {"words": facts["words"], "vectors of the model": (facts.get("model") or {}).get("vectors")}
    name, space = next((name, held) for name, held in reversed(spaces.items()) if held)
    half = max(space["proxy_a_distance"]["value"], 0.0) / 2
    yield from ("", "What can be said of the error on the target (Ben-David et al. 2010)")
    yield "Error on the target <= error on the source + half the divergence + error of the best model for both."
    if risk:
        yield f"Error on the source: {_share(risk)} (1 - {predictions['score']} of the model on the source notes)."
    else:
        yield "Error on the source: not measured; give --model FOLDER and labeled source notes it was not trained on."
    yield f"Half the divergence: {half:.1%}, by the proxy A-distance on {name}, which stands for it. {DIVERGENCE}."
    yield f"{JOINT}."
    if (risk["value"] if risk else 0.0) + half >= 1:
        yield "The first two terms add up to 100 % or more: the bound rules nothing out, and only labels can tell."


def _model_blocks(facts: Facts) -> Iterator[Block]:
    model = facts.get("model")
    if not model:
        return
    yield from ("", "By vectors of the model", *_divergence_rows({"mean token vectors": model["vectors"]}))
    if perplexity := model.get("perplexity"):
        yield from ("", "Perplexity of the masked LM")
        yield [("", "perplexity"), *((side, _number(perplexity[side])) for side in ("source", "target"))]
        yield f"{perplexity['masked_tokens']:,} masked tokens"
    predictions = model.get("predictions")
    if predictions and predictions["shift"]:
        yield from ("", f"{predictions['kind'].capitalize()} that the model finds", _label_rows(predictions["shift"]))
        yield f"Total variation distance: {_distance(predictions['shift'])}. {BY_CHANCE}."
    if predictions and predictions["estimated"]:
        yield from ("", "Classes of the target, estimated (BBSE)")
        yield [("class", "share"), *((name, _share(one)) for name, one in predictions["estimated"]["shares"].items())]
        yield "From predictions and the errors on the source; right where notes of a class are alike on both sides."


def _divergence_rows(spaces: Mapping[str, Facts]) -> Iterator[Block]:
    yield [("features", "AUC", "proxy A-distance", "MMD^2", "by chance up to", "p")] + [
        (
            name,
            f"{held['auc']:.3f}",
            _number(held["proxy_a_distance"]),
            f"{held['mmd']['squared']:.4f}",
            f"{held['mmd']['chance']:.4f}",
            f"{held['mmd']['p']:.4f}",
        )
        for name, held in spaces.items()
    ]
    yield (
        "AUC of a domain classifier: 0.5 cannot tell, 1 always can. Proxy A-distance: 0 to 2. MMD^2 has a test by "
        "permutation of groups in place of an interval."
    )


def _label_rows(held: Facts) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("label", "source", "target")]
    rows += [
        (label, *(_share(sides[side]) for side in ("source", "target"))) for label, sides in held["shares"].items()
    ]
    return rows


def _apart(held: Facts, name: str) -> str:
    interval, p = held["proxy_a_distance"]["interval"], held["mmd"]["p"]
    told = interval is not None and interval["low"] > 0
    words = "SOURCE AND TARGET ARE TOLD APART" if told else "source and target are not told apart"
    distance = f"proxy A-distance {_number(held['proxy_a_distance'])} of 2"
    return f"{words} by {name}: {distance}, AUC {held['auc']:.3f}, MMD p {p:.4f}"


def _distance(held: Facts) -> str:
    """The distance of shares, and whether chance alone would make as much."""
    distance = held["distance"]
    beyond = "more" if distance["value"] > distance["chance"] else "no more"
    return f"{distance['value']:.1%}, {beyond} than chance makes (up to {distance['chance']:.1%})"


def _share(figure: Facts) -> str:
    return _shown(figure, ".1%")


def _number(figure: Facts) -> str:
    return _shown(figure, ".2f")


def _shown(figure: Facts, form: str) -> str:
    if figure["value"] is None:
        return "-"
    interval = figure["interval"]
    reach = f" ({interval['low']:{form}} to {interval['high']:{form}})" if interval else ""
    return f"{figure['value']:{form}}{reach}"
