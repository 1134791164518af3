import json
import math
import statistics
from collections.abc import Sequence

import numpy as np
import pytest

from clinnlp.core.document import Document
from clinnlp.core.report import LabelScores, Score
from clinnlp.evaluation.comparison import (
    ACCURACY,
    MACRO_F1,
    MICRO_F1,
    Comparison,
    Drawing,
    RunCounts,
    compare_runs,
    count_notes,
)
from clinnlp.evaluation.comparison_report import comparison_facts, comparison_text, comparison_values
from clinnlp.evaluation.resample import bootstrap_interval, f1_of, units_of
from clinnlp.evaluation.significance import approximate_randomization, mcnemar

QUICK = Drawing(resamples=500, rounds=500)


def units(documents: int, size: int = 1) -> object:
    """Units of `size` documents each; of one, the documents themselves."""
    group = (lambda number: None) if size == 1 else (lambda number: f"p{number // size}")
    return units_of([Document(str(number), "", group=group(number)) for number in range(documents)])


def a_run(name: str, arm: str = "", seed: int | None = None, documents: int = 30, better: float = 1.0) -> RunCounts:
    """A run with two labels; the same name gives the same counts."""
    generator = np.random.default_rng(list(name.encode()))
    by_label = generator.poisson([4 * better, 1, 2], (documents, 2, 3)).astype(np.int64)
    correct = generator.random(documents) < 0.5 * better
    return RunCounts(name, arm or name, seed, name, by_label, correct)


def scored(*counts: Sequence[int]) -> RunCounts:
    """A run with these tp, fp, fn by document, of one label."""
    return RunCounts(
        str(counts), str(counts), None, str(counts), np.array(counts)[:, None], np.zeros(len(counts), bool)
    )


def test_counted_by_hand() -> None:
    first = scored((2, 0, 0), (1, 0, 1), (0, 0, 1))  # 3, 0, 2: F1 6/8
    second = scored((1, 1, 1), (1, 0, 1), (0, 0, 1))  # 2, 1, 3: F1 4/8
    made = compare_runs([first, second], units(3), MICRO_F1, QUICK)
    assert [run.mean for run in made.runs] == [0.75, 0.5]
    (contrast,) = made.contrasts
    assert contrast.difference == 0.25
    # only the first document tells them apart: it is exchanged or not, and the difference is 1/4 or -1/4
    assert contrast.outcome is not None and (contrast.outcome.unequal, contrast.p) == (1, 1.0)


def test_one_run_each_is_what_the_parts_say() -> None:
    one, other, by_patient = a_run("a"), a_run("b"), units(30, 3)
    (contrast,) = compare_runs([one, other], by_patient, MICRO_F1, QUICK).contrasts
    sides = [run.by_label.sum(axis=1) for run in (one, other)]
    expected = approximate_randomization(sides[0], sides[1], f1_of, by_patient, QUICK.seed, QUICK.rounds)
    assert contrast.outcome == expected
    assert (contrast.paired, contrast.together) == ("one run each", (("a", "b"),))
    assert contrast.interval is not None and (contrast.interval.unit, contrast.interval.units) == ("group", 10)
    assert contrast.interval.low < contrast.difference < contrast.interval.high


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_the_interval_of_a_run_is_that_of_its_own_bootstrap(method: str) -> None:
    run, by_note = a_run("a"), units(30)
    how = Drawing(method=method)
    made = compare_runs([run, a_run("b")], by_note, MICRO_F1, how).runs[0].interval
    alone = bootstrap_interval(run.by_label.sum(axis=1), f1_of, by_note, 13, method)
    assert made is not None and alone is not None and made.method == alone.method == method
    assert (made.low, made.high) == pytest.approx((alone.low, alone.high), abs=0.005)  # other resamples are drawn


def test_arms_are_compared_seed_by_seed() -> None:
    runs = [a_run("a1", "a", 1), a_run("a2", "a", 2), a_run("b2", "b", 2), a_run("b1", "b", 1)]
    made = compare_runs(runs, units(30), MACRO_F1, QUICK)
    values = {run.name: run.mean for run in made.runs}
    (contrast,) = made.contrasts
    assert (contrast.paired, contrast.together) == ("seed by seed", (("a1", "b1"), ("a2", "b2")))
    assert contrast.by_run == pytest.approx((values["a1"] - values["b1"], values["a2"] - values["b2"]))
    assert contrast.difference == pytest.approx(statistics.fmean(contrast.by_run))
    assert made.arms[0].mean == pytest.approx((values["a1"] + values["a2"]) / 2)
    assert made.arms[0].sd == pytest.approx(abs(values["a1"] - values["a2"]) / math.sqrt(2))
    assert contrast.outcome is not None and contrast.outcome.difference == pytest.approx(contrast.difference)


def test_more_seeds_of_the_same_answers_change_nothing() -> None:
    """Seeds are no further notes: repeated runs make no test stronger."""
    single = compare_runs([a_run("a"), a_run("b")], units(30), MICRO_F1).contrasts[0]
    a, b = a_run("a"), a_run("b")
    runs = [
        RunCounts(f"{run.name}{seed}", run.name, seed, run.answers, run.by_label, run.correct)
        for run in (a, b)
        for seed in (1, 2, 3)
    ]
    several = compare_runs(runs, units(30), MICRO_F1).contrasts[0]
    assert several.p == pytest.approx(single.p, abs=0.02)
    assert several.interval is not None and single.interval is not None
    assert (several.interval.low, several.interval.high) == pytest.approx(
        (single.interval.low, single.interval.high), abs=0.005
    )


def test_arms_with_other_seeds_are_paired_in_order_and_with_other_numbers_not_at_all() -> None:
    runs = [a_run("a1", "a", 1), a_run("a2", "a", 2), a_run("b3", "b", 3), a_run("b4", "b", 4), a_run("c", "c", 1)]
    made = compare_runs(runs, units(30), MICRO_F1, QUICK)
    first, second, _ = made.contrasts
    assert (first.paired, first.together) == ("in the order given", (("a1", "b3"), ("a2", "b4")))
    assert (second.together, second.outcome, second.by_run) == ((), None, ())
    assert second.paired == "2 against 1 runs: not paired, so there is no test"
    assert second.interval is not None and math.isnan(second.p) and math.isnan(second.p_holm)
    assert first.p_holm == first.p, "the two that were not tested are no part of the family"


def test_p_values_are_adjusted_over_all_pairs() -> None:
    runs = [a_run("a", better=1.6), a_run("b"), a_run("c")]
    contrasts = compare_runs(runs, units(30), MICRO_F1, QUICK).contrasts
    assert [(c.first, c.second) for c in contrasts] == [("a", "b"), ("a", "c"), ("b", "c")]
    smallest = min(contrast.p for contrast in contrasts)
    assert min(contrast.p_holm for contrast in contrasts) == pytest.approx(min(1.0, 3 * smallest))


def test_notes_are_compared_by_mcnemar_unless_patients_have_several() -> None:
    one, other = a_run("a", better=1.5), a_run("b")
    by_note = compare_runs([one, other], units(30), ACCURACY, QUICK).contrasts[0]
    assert by_note.outcome == mcnemar(one.correct, other.correct)
    by_patient = compare_runs([one, other], units(30, 2), ACCURACY, QUICK).contrasts[0]
    assert by_patient.outcome is not None and by_patient.outcome.test == "approximate randomization"
    assert by_patient.difference == pytest.approx(by_note.difference)
    assert by_note.difference == pytest.approx((one.correct.sum() - other.correct.sum()) / 30)


@pytest.mark.parametrize("measure", [MICRO_F1, MACRO_F1, ACCURACY])
def test_a_run_against_itself_says_so(measure: object) -> None:
    run = a_run("a")
    again = RunCounts("a (2)", "a (2)", None, run.answers, run.by_label, run.correct)
    made = compare_runs([run, again], units(30), measure, QUICK)
    (contrast,) = made.contrasts
    assert (contrast.difference, contrast.p, contrast.same_answers) == (0.0, 1.0, True)
    assert contrast.interval is not None and contrast.interval.low == contrast.interval.high == 0.0
    assert "a and a (2) hold the same predictions: the difference is 0 and p is 1" in list(comparison_facts([made]))


def test_one_group_has_no_interval_and_says_why() -> None:
    made = compare_runs([a_run("a", documents=4), a_run("b", documents=4)], units(4, 4), MICRO_F1, QUICK)
    assert made.runs[0].interval is None and made.contrasts[0].interval is None
    assert made.contrasts[0].p == 1.0, "exchanging all is exchanging nothing"
    assert next(comparison_facts([made])) == "No intervals: 1 group only, and an interval takes two"


@pytest.mark.parametrize(("documents", "said"), [(49, True), (50, False)])
def test_few_groups_are_warned_of(documents: int, said: bool) -> None:
    made = compare_runs([a_run(n, documents=documents) for n in "ab"], units(documents), MICRO_F1, QUICK)
    told = "With fewer than 50 documents intervals are too narrow: see docs/statistics.md"
    assert (told in list(comparison_facts([made]))) == said


def test_nothing_to_score_is_null_and_said() -> None:
    empty = np.zeros((2, 1, 3), np.int64)
    runs = [RunCounts(name, name, None, "same", empty, np.ones(2, bool)) for name in "ab"]
    made = compare_runs(runs, units(2), MICRO_F1, QUICK)
    values = json.loads(json.dumps(comparison_values(made), allow_nan=False))
    assert values["pairs"][0]["difference"] is None and values["pairs"][0]["p"] is None
    assert next(comparison_facts([made])) == "No intervals: there is nothing to score"


def test_scores_are_those_of_the_report() -> None:
    run = a_run("a")
    report = LabelScores({name: Score(*run.by_label[:, n].sum(axis=0).tolist()) for n, name in enumerate("XY")})
    for measure, expected in ((MICRO_F1, report.micro.f1), (MACRO_F1, report.macro.f1), (ACCURACY, run.correct.mean())):
        made = compare_runs([run, a_run("b")], units(30), measure, QUICK)
        assert made.runs[0].mean == pytest.approx(expected, abs=1e-12)


def test_a_stray_label_of_one_run_does_not_change_its_macro_f1() -> None:
    """Gold has X in two notes, both runs find one; the other one predicts Y too, which gold never has.

    Macro F1 is over X alone, 2/3, for both. Over the labels that occur it would be 2/3 against 1/3.
    """
    plain = np.array([[[1, 0, 0], [0, 0, 0]], [[0, 0, 1], [0, 0, 0]]])
    stray = plain + np.array([[[0, 0, 0], [0, 1, 0]], [[0, 0, 0], [0, 0, 0]]])
    runs = [RunCounts(name, name, None, name, counts, np.zeros(2, bool)) for name, counts in
            (("a", plain), ("b", stray))]  # fmt: skip
    made = compare_runs(runs, units(2), MACRO_F1, QUICK)
    assert [run.mean for run in made.runs] == pytest.approx([2 / 3, 2 / 3])
    assert made.contrasts[0].difference == 0
    assert compare_runs(runs, units(2), MICRO_F1, QUICK).contrasts[0].difference > 0, "micro F1 counts it"


def test_note_labels_counted_by_hand() -> None:
    gold = [Document("1", "", labels=("A", "B")), Document("2", ""), Document("3", "", labels=("A",))]
    said = [
        Document("1", "", labels=("B", "C")),
        Document("2", "", labels=("C",)),
        Document("3", "", labels=("A", "A")),
    ]
    names, counts = count_notes(list(zip(gold, said, strict=True)), ["D"])
    assert names == ("A", "B", "C", "D")
    assert counts.sum(axis=0).tolist() == [[1, 0, 1], [1, 0, 0], [0, 2, 0], [0, 0, 0]]
    assert counts[0].tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0]]


def the_text(made: Sequence[Comparison]) -> str:
    costs = {
        run.name: {"train seconds": 1234.5, "trained weights": 22_000_000, "model MB": None} for run in made[0].runs
    }
    return comparison_text(made, costs, {"full": 7, "b\x1b[31m": None})


def test_the_text_holds_scores_costs_and_tests_and_no_control_characters() -> None:
    first = scored(*[(2, 0, 0)] * 10, *[(1, 0, 1)] * 10)  # 30, 0, 10: F1 60/70
    second = scored(*[(1, 1, 1)] * 10, *[(0, 0, 2)] * 10)  # 10, 10, 30: F1 20/60
    runs = [
        RunCounts(name, name, None, name, run.by_label, run.correct)
        for name, run in (("full", first), ("b\x1b[31m", second))
    ]
    text = the_text([compare_runs(runs, units(20), MICRO_F1, QUICK)])
    lines = text.split("\n")
    assert lines[0] == "run        seed  micro F1     95 % interval  train seconds  trained weights"
    assert lines[1].startswith("full          7    0.8571  ") and lines[1].endswith("        1,234.5       22,000,000")
    assert lines[2].startswith("b\\x1b[31m     -    0.3333  ")
    assert lines[5].startswith("full         b\\x1b[31m     +0.5238  ")
    assert lines[5].endswith("  0.0020  0.0020  approximate randomization"), "no round of 500 is as large: 1 / 501"
    assert "\x1b" not in text


def test_the_text_of_arms() -> None:
    runs = [a_run("a1", "a", 1), a_run("a2", "a", 2), a_run("b1", "b", 1), a_run("b2", "b", 2), a_run("c", "c", 1)]
    made = compare_runs(runs, units(30), MICRO_F1, QUICK)
    text = comparison_text([made], {run.name: {} for run in runs}, {run.name: run.seed for run in runs})
    heads = [line.split() for line in text.split("\n") if line.startswith(("run ", "arm "))]
    assert heads == [
        ["run", "arm", "seed", "micro", "F1", "95", "%", "interval"],
        ["arm", "runs", "micro", "F1", "sd", "95", "%", "interval"],
    ]
    told = [f"{value:+.4f}" for value in made.contrasts[0].by_run]
    assert f"a minus b seed by seed, micro F1: {', '.join(told)}.\n" in text
    assert "a and c: 2 against 1 runs: not paired, so there is no test.\n" in text
    assert "Holm: p-values of a measure adjusted over its 3 pairs of arms.\n" in text
    assert "Intervals: percentile bootstrap, 500 resamples of 30 documents.\n" in text
    assert "Approximate randomization: 500 rounds, each exchanges whole documents between two arms.\n" in text
    assert text.endswith("for these trained models; sd says how they vary over seeds.\n")
