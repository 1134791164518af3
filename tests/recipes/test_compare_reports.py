"""What a comparison shows beside its figures: budgets, the page, and arms over several data sets."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.command import clinnlp, notes, read_json, write_jsonl
from tests.recipes.test_compare import QUICK, answers, compare, edit, refused, scored, trained

EVIL = "<img onerror=alert(1)>"
SCRATCH = {"base": None, "like": "bases/tiny", "strategy": "full"}


def arm(folder: Path, name: str, raw: dict[str, Any], **facts: Any) -> Path:
    """A finished fine-tuning run on 20 notes, without training."""
    gold = write_jsonl(folder / "gold.jsonl", notes(20, "seen"))
    like = scored(folder / f"like-{name}", gold, answers(notes(20, "seen"), len(name), 0.2))
    run = trained(folder / name, like, {"train notes": 100, "steps": 630, **facts}, data={"test": str(gold)}, **raw)
    shape = {"model_type": "bert", "num_hidden_layers": 2, "hidden_size": 32}
    (run / "model" / "config.json").write_text(json.dumps(shape))
    (run / "model" / "tokenizer.json").write_text("{}")
    return run


def test_a_baseline_from_scratch_with_the_same_budget(tmp_path: Path) -> None:
    runs = [arm(tmp_path, "ours", {"strategy": "full"}), arm(tmp_path, "scratch", SCRATCH)]
    found = compare(tmp_path / "out", *runs)["budget"]
    assert found["same"] is True
    assert [held[0]["starts from"] for held in found["arms"].values()] == ["base weights", "random weights"]
    text = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    told = "All arms were trained with the same budget: train notes 100, steps 630, windows a step 16, window 512, "
    assert told + "architecture bert of 2 layers, 32 wide, tokenizer " in text
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert told in page and "random weights" in page and "Read first" not in page


@pytest.mark.parametrize(
    ("raw", "facts", "told"),
    [
        ({}, {"steps": 100}, "steps: ours 630, less 100"),
        ({}, {"train notes": 50}, "train notes: ours 100, less 50"),
        ({"fit": {"batch": 4}}, {}, "windows a step: ours 16, less 4"),
    ],
)
def test_a_baseline_with_less_is_named_on_top(
    raw: dict[str, Any], facts: dict[str, Any], told: str, tmp_path: Path
) -> None:
    runs = [arm(tmp_path, "ours", {"strategy": "full"}), arm(tmp_path, "less", {**SCRATCH, **raw}, **facts)]
    assert compare(tmp_path / "out", *runs)["budget"]["same"] is False
    said = f"The arms were not trained with the same budget, so their difference is also one of {told}"
    assert f"{said}.\n" in (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.index("Read first") < page.index(said) < page.index("scores and costs")


def test_another_tokenizer_is_another_budget(tmp_path: Path) -> None:
    runs = [arm(tmp_path, "ours", {"strategy": "full"}), arm(tmp_path, "other", SCRATCH)]
    (runs[1] / "model" / "tokenizer.json").write_text('{"version": "other"}')
    found = compare(tmp_path / "out", *runs)["budget"]
    assert found["same"] is False and found["arms"]["ours"][0]["tokenizer"] != found["arms"]["other"][0]["tokenizer"]


def test_predictions_made_elsewhere_have_no_known_budget(tmp_path: Path) -> None:
    gold = write_jsonl(tmp_path / "gold.jsonl", notes(20, "seen"))
    runs = [
        scored(tmp_path / name, gold, answers(notes(20, "seen"), 1, wrong)) for name, wrong in (("a", 0.1), ("b", 0.3))
    ]
    assert compare(tmp_path / "out", *runs)["budget"]["same"] is None
    text = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert "Whether the arms had the same budget is not recorded for: train notes, steps" in text


def test_seeds_of_a_baseline_from_scratch_make_an_arm(tmp_path: Path) -> None:
    systems: dict[str, dict[str, Any]] = {"ours": {"strategy": "full"}, "none": SCRATCH}
    runs = [arm(tmp_path, f"{name}{seed}", {**raw, "seed": seed}) for name, raw in systems.items() for seed in (1, 2)]
    arms = compare(tmp_path / "out", *runs)["entity"]["micro_f1"]["arms"]
    assert list(arms) == ["full tiny", "full from scratch, as tiny"]


def test_the_page_is_escaped_and_self_contained(tmp_path: Path) -> None:
    gold = write_jsonl(tmp_path / "gold.jsonl", notes(20, "seen"))
    runs = [
        scored(tmp_path / name, gold, answers(notes(20, "seen"), 1, wrong)) for name, wrong in ((EVIL, 0.1), ("b", 0.3))
    ]
    compare(tmp_path / "out", *runs)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<img" not in page and "&lt;img onerror=alert(1)&gt; minus b" in page
    assert "default-src 'none'" in page and "<script" not in page and "aspirin" not in page
    assert page.count("<h2>") >= 3 and len(page) < 100_000


def by_size(folder: Path, sizes: dict[int, float], strategy: str = "lora", **other: Any) -> list[Path]:
    """Runs as of finetune, two seeds on each number of train notes, with that share of wrong answers."""
    gold, made = write_jsonl(folder / "gold.jsonl", notes(40, "seen")), []
    for size, wrong in sizes.items():
        for seed in (1, 2):
            like = scored(folder / f"like-{strategy}-{size}-{seed}", gold, answers(notes(40, "seen"), seed, wrong))
            data = {"test": str(gold), "train": str(write_jsonl(folder / f"{size}.jsonl", []))}
            raw: dict[str, Any] = {"strategy": strategy, "seed": seed, "data": data, **other}
            made.append(trained(folder / f"{strategy}-{size}-{seed}", like, {"train notes": size + seed}, **raw))
    return made


def test_runs_on_more_and_more_notes_give_the_learning_curve(tmp_path: Path) -> None:
    """Sizes 11 and 12, 26 and 27 ...: whole patients make numbers that differ a little, so they are one size."""
    runs = by_size(tmp_path, {10: 0.6, 25: 0.4, 50: 0.25, 100: 0.1})
    found = compare(tmp_path / "out", *runs)["entity"]
    (name, curve), *rest = found["learning_curves"].items()
    values = found["micro_f1"]["runs"]
    assert (name, rest) == ("lora tiny", [])
    assert [size["notes"] for size in curve["sizes"]] == [12, 26, 52, 102]
    assert curve["sizes"][1]["scores"] == [values[f"lora-25-{seed}"]["value"] for seed in (1, 2)]
    assert curve["notes_for_next_point"]["estimate"] > 0
    text = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert "Learning curve of lora tiny\n\n   notes  repeats " in text
    assert "From 102 notes the next 0.01 is likely to take " in text
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Entities, strict: learning curve of lora tiny</h2>" in page and "<polyline" in page
    assert "the next 0.01 is likely to take" in page


def test_each_strategy_has_a_curve_of_its_own(tmp_path: Path) -> None:
    sizes = {10: 0.6, 25: 0.4, 50: 0.25}
    runs = [
        *by_size(tmp_path, sizes),
        *by_size(tmp_path, sizes, "full"),
        *by_size(tmp_path, {100: 0.1}, "full", fit={"epochs": 2}),
    ]
    curves = compare(tmp_path / "out", *runs)["entity"]["learning_curves"]
    assert {name: [size["notes"] for size in curve["sizes"]] for name, curve in curves.items()} == {
        "lora tiny": [12, 26, 52], "full tiny": [12, 26, 52],
    }, "100 notes were trained with other settings"  # fmt: skip


def test_two_sizes_are_no_curve(tmp_path: Path) -> None:
    assert compare(tmp_path / "out", *by_size(tmp_path, {10: 0.6, 25: 0.4}))["entity"]["learning_curves"] == {}
    assert "Learning curve" not in (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Seven comparisons of arms a and b, each on notes of its own; a is better but for the third."""
    folder, made = tmp_path_factory.mktemp("sets"), []
    for number in range(7):
        own, gold = folder / str(number), notes(30, f"set {number}")
        path = write_jsonl(own / "gold.jsonl", gold)
        wrong = {"a": 0.05, "b": 0.3 + number / 50}
        best, worst = ("b", "a") if number == 2 else ("a", "b")
        runs = [scored(own / name, path, answers(gold, number, wrong[as_]))
                for name, as_ in ((best, "a"), (worst, "b"))]  # fmt: skip
        named = "b,a" if number == 2 else "a,b"
        assert clinnlp("compare", *runs, *QUICK, "--arms", named, "--out", folder / f"set-{number}") == 0
        made.append(folder / f"set-{number}")
    return made


def test_arms_are_compared_over_data_sets(sets: list[Path], tmp_path: Path) -> None:
    from scipy import stats

    assert clinnlp("compare", *sets, "--out", tmp_path / "out") == 0
    found = read_json(tmp_path / "out" / "metrics.json")
    (row,) = found["pairs"]
    held = [read_json(one / "metrics.json")["entity"]["micro_f1"]["arms"] for one in sets]
    differences = [one["a"]["mean"] - one["b"]["mean"] for one in held]
    assert [value > 0 for value in differences] == [True, True, False, True, True, True, True]
    assert row["p"] == pytest.approx(stats.wilcoxon(differences, zero_method="zsplit").pvalue)
    assert (row["data_sets"], row["test"], found["measure"]) == (7, "Wilcoxon signed-rank", "entity micro_f1")
    text = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert f"a minus b over 7 data sets: median difference {row['median_difference']:+.4f}, Wilcoxon" in text
    assert "Over data sets" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    first = Path(shutil.copytree(sets[0], tmp_path / sets[0].name))
    (first / "metrics.json").write_text(json.dumps(read_json(first / "metrics.json") | {"waived": ["groups: 4"]}))
    assert clinnlp("compare", first, *sets[1:], "--out", tmp_path / "waived") == 0
    assert read_json(tmp_path / "waived" / "metrics.json") == {"waived": [f"{first.name}: groups: 4"], **found}
    assert (tmp_path / "waived" / "report.txt").read_text() == f"waived: {first.name}: groups: 4\n\n{text}"


def test_what_cannot_be_taken_together_is_refused(
    sets: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told = refused(capsys, tmp_path / "five", *sets[:5])
    assert status == 2 and "Wilcoxon's test takes 6 pairs or more, got 5" in told
    status, told = refused(capsys, tmp_path / "twice", *sets, sets[0])
    assert status == 2 and "two folders have the same name" in told
    other = tmp_path / "other"
    runs = [sets[0].parent / "0" / name for name in "ab"]
    assert clinnlp("compare", *runs, *QUICK, "--arms", "a,c", "--out", other) == 0
    status, told = refused(capsys, tmp_path / "arms", *sets[1:], other)
    assert status == 2 and "comparisons set-1 and other have other arms or another measure" in told
    status, told = refused(capsys, tmp_path / "same", *sets, other)
    assert status == 2 and "the same test notes as" in told
    edit(other, status="failed")
    status, told = refused(capsys, tmp_path / "unfinished", *sets[1:], other)
    assert status == 2 and "this comparison is not finished" in told
