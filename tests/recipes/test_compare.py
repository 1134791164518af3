"""Comparison of finished runs: scores, differences, tests and costs, and what is refused."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clinnlp import config
from clinnlp.core.run import sha256_files
from clinnlp.recipes.crossvalidate import CrossValidate
from clinnlp.recipes.finetune import Finetune
from tests.recipes.command import clinnlp, notes, read_json, write_jsonl

QUICK = ("--resamples", 300, "--rounds", 300)
Notes = list[dict[str, Any]]
Told = pytest.CaptureFixture[str]


def answers(gold: Notes, seed: int, wrong: float) -> Notes:
    """Predictions that miss spans and labels, or take them for others, with probability `wrong`."""
    draw = random.Random(seed)

    def lose(values: list[Any]) -> list[Any]:
        return [value for value in values if draw.random() > wrong]

    kinds = [note["note_type"] if draw.random() > wrong else "plan" for note in gold]
    return [
        note | {"spans": lose(note["spans"]), "labels": lose(note["labels"]), "note_type": kind}
        for note, kind in zip(gold, kinds, strict=True)
    ]


def scored(folder: Path, gold: Path, said: Notes, *words: object) -> Path:
    """An evaluate run of predictions."""
    path = write_jsonl(folder.parent / f"{folder.name}.jsonl", said)
    given = words or ("--task", "ner")
    assert clinnlp("evaluate", "--predictions", path, "--data.test", gold, *given, "--out", folder) == 0
    return folder


def trained(folder: Path, scores: Path, facts: dict[str, Any], verb: str = "finetune", **raw: Any) -> Path:
    """The run folder that training would have left with the predictions and scores of an evaluate run."""
    shutil.copytree(scores, folder)
    source = scores.parent / f"{scores.name}.jsonl"
    shutil.copy(source, folder / "predictions.jsonl")
    kind = {"finetune": Finetune, "crossvalidate": CrossValidate}[verb]
    settings = config.build(kind, {"base": "bases/tiny", "out": str(folder), **raw})
    data = {name: raw["data"][name] for name in ("train", "dev", "test") if name in raw["data"]}
    hashes = {name: sha256_files([Path(path)]) for name, path in data.items()}
    edit(folder, verb=verb, settings=config.plain(settings), seed=settings.seed, data_sha256=hashes, facts=facts)
    (folder / "model").mkdir()
    (folder / "model" / "adapter_model.safetensors").write_bytes(b"0" * 250_000)
    return folder


def edit(folder: Path, **values: Any) -> Path:
    """Change entries of a run's manifest."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(read_json(path) | values))
    return folder


def again(folder: Path, tmp_path: Path, name: str = "changed", **values: Any) -> Path:
    """A copy of a run with other entries in its manifest."""
    return edit(Path(shutil.copytree(folder, tmp_path / name)), **values)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with gold.jsonl, 40 notes of 20 patients, and evaluate runs good, fair and poor of entities."""
    folder = tmp_path_factory.mktemp("compare")
    gold = notes(40, "seen")
    path = write_jsonl(folder / "gold.jsonl", gold)
    for seed, (name, wrong) in enumerate({"good": 0.05, "fair": 0.15, "poor": 0.4}.items()):
        scored(folder / name, path, answers(gold, seed, wrong))
    return folder


@pytest.fixture(scope="module")
def seeds(room: Path) -> list[Path]:
    """Runs as of finetune: LoRA with seeds 1 and 2, full with seeds 2 and 1."""
    gold, made = read_notes(room / "gold.jsonl"), []
    for name, seed, wrong in (("lora", 1, 0.2), ("lora", 2, 0.25), ("full", 2, 0.05), ("full", 1, 0.1)):
        like = scored(room / f"like-{name}-{seed}", room / "gold.jsonl", answers(gold, seed * 10, wrong))
        facts = {"train seconds": 10.0 * seed, "trained weights": 1000 if name == "lora" else 22_000}
        data = {"test": str(room / "gold.jsonl")}
        made.append(trained(room / f"{name}-{seed}", like, facts, strategy=name, seed=seed, data=data))
    return made


def read_notes(path: Path) -> Notes:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def compare(out: Path, *words: object) -> dict[str, Any]:
    """What a comparison that must succeed has found."""
    assert clinnlp("compare", *words, *QUICK, "--out", out) == 0
    found: dict[str, Any] = read_json(out / "metrics.json")
    return found


def refused(told: Told, out: Path, *words: object) -> tuple[int, str]:
    """The exit status and message of a comparison that must fail."""
    told.readouterr()
    status = clinnlp("compare", *words, *QUICK, "--out", out)
    assert not out.exists(), "the corrected command may use the folder"
    return status, told.readouterr().err


def test_two_runs(room: Path, tmp_path: Path, capsys: Told) -> None:
    found = compare(tmp_path / "out", room / "good", room / "poor")
    runs = found["entity"]["micro_f1"]["runs"]
    for name in ("good", "poor"):
        own = read_json(room / name / "metrics.json")["entity"]["strict"]
        assert runs[name]["value"] == pytest.approx(own["micro"]["f1"], abs=1e-12)
        assert found["entity"]["macro_f1"]["runs"][name]["value"] == pytest.approx(own["macro"]["f1"], abs=1e-12)
        assert runs[name]["interval"]["unit"] == "group" and runs[name]["interval"]["units"] == 20
    (pair,) = found["entity"]["micro_f1"]["pairs"]
    assert pair["difference"] == pytest.approx(runs["good"]["value"] - runs["poor"]["value"])
    assert pair["interval"]["low"] > 0 and 1 / 301 <= pair["p"] == pair["p_holm"] < 0.01
    assert pair["test"]["test"] == "approximate randomization" and pair["test"]["units"] == 20
    text = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert text.startswith("Entities, strict: 40 documents, the same in all 2 runs\n\nrun   seed  micro F1 ")
    assert text in capsys.readouterr().err
    manifest = read_json(tmp_path / "out" / "manifest.json")
    assert manifest["status"] == "done" and set(manifest["data_sha256"]) == {
        f"{run}: {name}" for run in ("good", "poor") for name in ("test", "predictions")
    }


def test_the_same_comparison_gives_the_same_bytes(room: Path, tmp_path: Path) -> None:
    for name in "ab":
        compare(tmp_path / name, room / "good", room / "poor", "--interval", "bca")
    for file in ("metrics.json", "report.txt"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert (
        read_json(tmp_path / "a" / "metrics.json")["entity"]["micro_f1"]["runs"]["poor"]["interval"]["method"] == "bca"
    )


def test_nothing_of_the_notes_is_written(room: Path, tmp_path: Path, capsys: Told) -> None:
    compare(tmp_path / "out", room / "good", room / "fair")
    told = capsys.readouterr()
    written = [path.read_text(encoding="utf-8") for path in (tmp_path / "out").iterdir()]
    for secret in ("seen-3", "aspirin", "follow up"):
        assert not any(secret in text for text in (*written, told.out, told.err)), secret


def test_seeds_make_arms_that_are_compared_seed_by_seed(seeds: list[Path], tmp_path: Path) -> None:
    found = compare(tmp_path / "out", *seeds)
    micro = found["entity"]["micro_f1"]
    assert {name: arm["runs"] for name, arm in micro["arms"].items()} == {
        "lora tiny": ["lora-1", "lora-2"], "full tiny": ["full-2", "full-1"],
    }  # fmt: skip
    (pair,) = micro["pairs"]
    assert pair["runs"] == [["lora-1", "full-1"], ["lora-2", "full-2"]] and pair["paired"] == "seed by seed"
    values = {name: run["value"] for name, run in micro["runs"].items()}
    assert pair["by_run"] == pytest.approx([values[f"lora-{n}"] - values[f"full-{n}"] for n in (1, 2)])
    assert micro["arms"]["lora tiny"]["sd"] == pytest.approx(abs(values["lora-1"] - values["lora-2"]) / 2**0.5)
    assert found["runs"]["full-2"]["costs"] == {
        "train_seconds": 20.0, "trained_weights": 22_000, "model_mb": 0.25, "peak_mb": None,
    }  # fmt: skip
    text = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    (line,) = [line for line in text.split("\n") if line.startswith("full tiny")]
    assert line.split()[-3:] == ["15.0", "22,000", "0.2"], "the mean over runs"


def test_all_arms_against_one(seeds: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = compare(tmp_path / "out", *seeds, "--arms", "a,b,c,c", "--against", "b")
    assert [(pair["first"], pair["second"]) for pair in found["entity"]["micro_f1"]["pairs"]] == [
        ("a", "b"),
        ("c", "b"),
    ]
    assert clinnlp("compare", *seeds, "--against", "none", "--out", tmp_path / "other") == 2
    assert "against: no run is of this arm" in capsys.readouterr().err


def test_arms_as_given(seeds: list[Path], tmp_path: Path) -> None:
    found = compare(tmp_path / "out", *seeds, "--arms", "a, b,b,a")
    assert {name: arm["runs"] for name, arm in found["entity"]["micro_f1"]["arms"].items()} == {
        "a": ["lora-1", "full-1"], "b": ["lora-2", "full-2"],
    }  # fmt: skip


def test_arms_of_one_strategy_are_told_apart_by_what_differs(seeds: list[Path], tmp_path: Path) -> None:
    settings = read_json(seeds[0] / "manifest.json")["settings"]
    settings["fit"]["learning_rate"] = 0.002
    other = [again(run, tmp_path, f"again-{n}", settings=settings, seed=n) for n, run in enumerate(seeds[:2], 1)]
    found = compare(tmp_path / "out", *seeds[:2], *other)
    assert list(found["entity"]["micro_f1"]["arms"]) == [
        "lora tiny, fit.learning_rate None", "lora tiny, fit.learning_rate 0.002",
    ]  # fmt: skip


def test_arms_that_differ_in_their_files_are_named_by_the_last_parts(seeds: list[Path], tmp_path: Path) -> None:
    settings = [read_json(run / "manifest.json")["settings"] for run in seeds[:2]]
    runs = []
    for name in ("few", "many"):
        for number, (run, own) in enumerate(zip(seeds[:2], settings, strict=True), 1):
            own["data"]["train"] = f"/a/long/way/to/{name}.jsonl"
            runs.append(again(run, tmp_path, f"{name}-{number}", settings=own, seed=number))
    arms = compare(tmp_path / "out", *runs)["entity"]["micro_f1"]["arms"]
    assert list(arms) == ["lora tiny, data.train few.jsonl", "lora tiny, data.train many.jsonl"]


def test_seeds_of_one_system_are_compared_with_each_other(seeds: list[Path], tmp_path: Path) -> None:
    assert list(compare(tmp_path / "out", *seeds[:2])["entity"]["micro_f1"]["arms"]) == ["lora-1", "lora-2"]


@pytest.mark.parametrize("kind", ["predictions", "trained"])
def test_a_run_with_itself(kind: str, room: Path, seeds: list[Path], tmp_path: Path) -> None:
    run = room / "good" if kind == "predictions" else seeds[0]
    found = compare(tmp_path / "out", run, run)
    for measure in ("micro_f1", "macro_f1"):
        (pair,) = found["entity"][measure]["pairs"]
        assert (pair["difference"], pair["p"], pair["same_answers"]) == (0.0, 1.0, True)
    name = run.name
    told = f"{name} and {name} (2) hold the same predictions: the difference is 0 and p is 1.\n"
    assert told in (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")


def test_three_runs_make_three_pairs(room: Path, tmp_path: Path) -> None:
    pairs = compare(tmp_path / "out", room / "good", room / "fair", room / "poor")["entity"]["micro_f1"]["pairs"]
    assert [(pair["first"], pair["second"]) for pair in pairs] == [("good", "fair"), ("good", "poor"), ("fair", "poor")]
    assert sorted(pair["p"] for pair in pairs)[0] * 3 == pytest.approx(min(pair["p_holm"] for pair in pairs))


def test_one_patient_only(room: Path, tmp_path: Path) -> None:
    gold = [note | {"group": "p"} for note in notes(6, "one")]
    path = write_jsonl(tmp_path / "gold.jsonl", gold)
    runs = [scored(tmp_path / name, path, answers(gold, n, 0.2 * n)) for n, name in enumerate("ab")]
    (pair,) = compare(tmp_path / "out", *runs)["entity"]["micro_f1"]["pairs"]
    assert pair["interval"] is None and pair["p"] == 1.0
    text = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert "No intervals: 1 group only, and an interval takes two.\n" in text


def test_notes_with_one_label(tmp_path: Path) -> None:
    gold = [{key: value for key, value in note.items() if key != "group"} for note in notes(60, "types")]
    path = write_jsonl(tmp_path / "gold.jsonl", gold)
    words = ("--task", "note_classification", *("--data.labels_field", "note_type"))
    words = (*words, "--predictions_format.name", "jsonl", "--predictions_format.labels_field", "note_type")
    runs = [scored(tmp_path / name, path, answers(gold, n, 0.1 + 0.4 * n), *words) for n, name in enumerate("ab")]
    found = compare(tmp_path / "out", *runs)["notes"]
    values = {name: read_json(tmp_path / name / "metrics.json")["notes"]["accuracy"] for name in "ab"}
    (pair,) = found["accuracy"]["pairs"]
    assert pair["difference"] == pytest.approx(values["a"] - values["b"])
    assert pair["test"]["test"].startswith("McNemar")
    assert found["macro_f1"]["pairs"][0]["test"]["test"] == "approximate randomization"


def test_notes_with_several_labels(tmp_path: Path) -> None:
    gold = notes(40, "labels")
    path = write_jsonl(tmp_path / "gold.jsonl", gold)
    words = ("--task", "note_classification")
    runs = [scored(tmp_path / name, path, answers(gold, n, 0.1 + 0.4 * n), *words) for n, name in enumerate("ab")]
    found = compare(tmp_path / "out", *runs)["notes"]
    assert set(found) == {"micro_f1", "macro_f1", "by_label", "over_folds", "learning_curves"}
    for name in "ab":
        own = read_json(tmp_path / name / "metrics.json")["notes"]["micro"]["f1"]
        assert found["micro_f1"]["runs"][name]["value"] == pytest.approx(own, abs=1e-12)


def test_runs_that_were_scored_on_a_share_of_their_train_notes(room: Path, tmp_path: Path) -> None:
    from clinnlp.recipes._data import DataSettings, load_splits

    data = {"train": str(write_jsonl(tmp_path / "all.jsonl", notes(60, "all"))), "test_share": 0.4}
    test = load_splits(config.build(DataSettings, data)).test
    gold = [note for note in notes(60, "all") if note["id"] in {document.id for document in test}]
    path, runs = write_jsonl(tmp_path / "gold.jsonl", gold), []
    for number, strategy in enumerate(("lora", "full")):
        like = scored(tmp_path / f"like-{strategy}", path, answers(gold, number, 0.2 * number))
        runs.append(trained(tmp_path / strategy, like, {}, strategy=strategy, data=data))
    assert compare(tmp_path / "out", *runs)["data"]["documents"] == len(gold) < 60


def test_runs_that_were_scored_on_dev_say_so(room: Path, tmp_path: Path) -> None:
    data, runs = {"train": str(room / "poor.jsonl"), "dev": str(room / "gold.jsonl")}, []
    for strategy, like in (("lora", "good"), ("full", "fair")):
        runs.append(trained(tmp_path / strategy, room / like, {}, strategy=strategy, data=data))
    assert compare(tmp_path / "out", *runs)["runs"]["lora"]["scored_on"] == "dev"
    text = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert text.split("\n")[1] == "Scored on dev notes, which chose the best weights or thresholds too: lora, full"


def folds(folder: Path, scores: list[float | None]) -> None:
    values = {"folds": {f"fold-{n}": score for n, score in enumerate(scores, 1)}, "score": "entity.strict.micro.f1"}
    notes_of = {"train_notes": [30] * len(scores), "test_notes": [10] * len(scores)}
    (folder / "folds.json").write_text(json.dumps({"format_version": 1, **values, **notes_of}))


def test_what_the_runs_waived_stands_on_top(room: Path, tmp_path: Path, seeds: list[Path]) -> None:
    one, two = (Path(shutil.copytree(folder, tmp_path / name)) for folder, name in zip(seeds, "ab", strict=False))
    both, alone = "groups: groups (patients) in both train and test: 4", "duplicates: some"
    for folder, lines in ((one, [both, alone]), (two, [both])):
        path = folder / "metrics.json"
        path.write_text(json.dumps(read_json(path) | {"waived": lines}))
    assert clinnlp("compare", one, two, *QUICK, "--out", tmp_path / "out") == 0
    assert read_json(tmp_path / "out" / "metrics.json")["waived"] == [both, f"a: {alone}"]
    text = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert text.startswith(f"waived: {both}\nwaived: a: {alone}\n\n")
    assert "<h2>Waived</h2>" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_cross_validations_are_compared_fold_by_fold(room: Path, tmp_path: Path) -> None:
    data, runs = {"train": str(room / "gold.jsonl")}, []
    for strategy, like, scores in (("lora", "good", [0.8, 0.7] * 3), ("full", "poor", [0.7, 0.4] * 3)):
        runs.append(trained(tmp_path / strategy, room / like, {}, "crossvalidate", strategy=strategy, data=data))
        folds(runs[-1], scores)
    (found,) = compare(tmp_path / "out", *runs)["entity"]["over_folds"]
    # differences 0.1 and 0.3: mean 0.2, variance 0.012; 30 train and 10 test notes: t = 0.2 / sqrt(0.012 * (1/6 + 1/3))
    assert (found["first"], found["second"], found["difference"]) == ("lora", "full", pytest.approx(0.2))
    assert (found["test"]["units"], found["test"]["statistic"]) == (6, pytest.approx(0.2 / 0.006**0.5))
    told = "Over 6 folds and seeds, lora minus full in entity.strict.micro.f1: +0.2000, corrected t-test p = 0.0493.\n"
    assert told in (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")


def test_fewer_than_six_folds_and_seeds_have_a_difference_and_no_test(room: Path, tmp_path: Path) -> None:
    data, runs = {"train": str(room / "gold.jsonl")}, []
    for strategy, like, scores in (("lora", "good", [0.8, 0.7, 0.9]), ("full", "poor", [0.7, 0.5, 0.6])):
        runs.append(trained(tmp_path / strategy, room / like, {}, "crossvalidate", strategy=strategy, data=data))
        folds(runs[-1], scores)
    (found,) = compare(tmp_path / "out", *runs)["entity"]["over_folds"]
    assert (found["difference"], found["test"]) == (pytest.approx(0.2), None)
    told = (
        "Over 3 folds and seeds, lora minus full in entity.strict.micro.f1: +0.2000, no test: the corrected t-test "
        "takes 6 pairs or more, got 3.\n"
    )
    assert told in (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    folds(runs[1], [0.7, None, 0.6])
    assert compare(tmp_path / "again", *runs)["entity"]["over_folds"] == []


def test_folds_of_another_seed_hold_other_notes_and_are_not_compared(room: Path, tmp_path: Path) -> None:
    data, runs = {"train": str(room / "gold.jsonl")}, []
    for strategy, like, seed in (("lora", "good", 13), ("full", "poor", 14)):
        made = {"strategy": strategy, "data": data, "folds": {"seed": seed}}
        runs.append(trained(tmp_path / strategy, room / like, {}, "crossvalidate", **made))
        folds(runs[-1], [0.8, 0.7] * 3)
    (found,) = compare(tmp_path / "out", *runs)["entity"]["over_folds"]
    assert (found["first"], found["second"], found["difference"], found["test"]) == ("lora", "full", None, None)
    told = "lora and full were tested on other folds: their folds are not compared.\n"
    assert told in (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")


def test_a_model_that_was_scored_elsewhere_keeps_its_seed_and_costs(
    seeds: list[Path], room: Path, tmp_path: Path
) -> None:
    runs = []
    for run in seeds:
        copy = again(room / f"like-{run.name}", tmp_path, run.name)
        settings = read_json(copy / "manifest.json")["settings"]
        edit(copy, settings=settings | {"predictions": None, "model": str(run / "model")})
        shutil.copy(room / f"like-{run.name}.jsonl", copy / "predictions.jsonl")
        runs.append(copy)
    found = compare(tmp_path / "out", *runs)
    assert list(found["entity"]["micro_f1"]["arms"]) == ["lora tiny", "full tiny"]
    assert [run["seed"] for run in found["runs"].values()] == [1, 2, 2, 1]
    assert found["runs"]["lora-1"]["costs"]["train_seconds"] == 10.0


def test_gold_that_moved_is_given(room: Path, tmp_path: Path, capsys: Told) -> None:
    gone = {"data_sha256": {"test": sha256_files([room / "gold.jsonl"])}}
    runs = []
    for name in ("good", "poor"):
        settings = read_json(room / name / "manifest.json")["settings"]
        settings["data"]["test"] = "nowhere.jsonl"
        hashes = read_json(room / name / "manifest.json")["data_sha256"] | gone["data_sha256"]
        runs.append(again(room / name, tmp_path, name, settings=settings, data_sha256=hashes))
    status, told = refused(capsys, tmp_path / "out", *runs)
    assert (status, told) == (
        2,
        "clinnlp: error[CLN-C2] nowhere.jsonl: the notes of run good: no such file. Kept: nothing was written. "
        "Next: give --data.test PATH --data.format F.\n",
    )
    compare(tmp_path / "out", *runs, "--data.test", room / "gold.jsonl", "--data.format", "jsonl")


def test_gold_that_changed_is_refused(room: Path, tmp_path: Path, capsys: Told) -> None:
    other = write_jsonl(tmp_path / "other.jsonl", notes(40, "seen")[:-1])
    status, told = refused(capsys, tmp_path / "out", room / "good", room / "poor", "--data.test", other)
    found, recorded = (sha256_files([path])[:12] for path in (other, room / "gold.jsonl"))
    assert (status, told) == (
        4,
        f"clinnlp: error[CLN-R4] {other}: the notes are not those that run good was scored on: sha256 {found}, "
        f"recorded {recorded}. Kept: nothing was written. Next: give the very files with --data.test, or score the run "
        "again.\n",
    )


Make = Callable[[Path, Path], tuple[Path, Path]]


def other_documents(room: Path, tmp_path: Path) -> tuple[Path, Path]:
    gold = notes(39, "seen")
    path = write_jsonl(tmp_path / "gold.jsonl", gold)
    return room / "good", scored(tmp_path / "fewer", path, answers(gold, 1, 0.1))


def other_texts(room: Path, tmp_path: Path) -> tuple[Path, Path]:
    gold = notes(40, "seen")
    gold[0] |= {"text": gold[0]["text"] + " Qvortrup"}
    path = write_jsonl(tmp_path / "gold.jsonl", gold)
    return room / "good", scored(tmp_path / "edited", path, answers(gold, 1, 0.1))


def other_gold(room: Path, tmp_path: Path) -> tuple[Path, Path]:
    gold = notes(40, "seen")
    gold[0] |= {"spans": gold[0]["spans"][:1]}
    path = write_jsonl(tmp_path / "gold.jsonl", gold)
    return room / "good", scored(tmp_path / "regraded", path, answers(notes(40, "seen"), 1, 0.1))


def other_labels(room: Path, tmp_path: Path) -> tuple[Path, Path]:
    said = answers(notes(40, "seen"), 1, 0.1)
    said[0] |= {"spans": [{"start": 0, "end": 4, "label": "DEVICE"}]}
    return room / "good", scored(tmp_path / "devices", room / "gold.jsonl", said)


def other_task(room: Path, tmp_path: Path) -> tuple[Path, Path]:
    words = ("--task", "note_classification")
    return room / "good", scored(tmp_path / "types", room / "gold.jsonl", answers(notes(40, "seen"), 1, 0.1), *words)


def unfinished(room: Path, tmp_path: Path) -> tuple[Path, Path]:
    return room / "good", again(room / "poor", tmp_path, status="failed")


def another_verb(room: Path, tmp_path: Path) -> tuple[Path, Path]:
    return room / "good", again(room / "poor", tmp_path, verb="label")


def no_run(room: Path, tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "empty").mkdir()
    return room / "good", tmp_path / "empty"


def without_score(room: Path, tmp_path: Path) -> tuple[Path, Path]:
    run = again(room / "poor", tmp_path)
    (run / "metrics.json").unlink()
    return room / "good", run


def broken(room: Path, tmp_path: Path) -> tuple[Path, Path]:
    return room / "good", again(room / "poor", tmp_path, data_sha256=None)


def changed_predictions(room: Path, tmp_path: Path) -> tuple[Path, Path]:
    said = answers(notes(40, "seen"), 1, 0.1)
    run = scored(tmp_path / "drawn", room / "gold.jsonl", said)
    write_jsonl(tmp_path / "drawn.jsonl", answers(notes(40, "seen"), 2, 0.1))
    return room / "good", run


def other_scores(room: Path, tmp_path: Path) -> tuple[Path, Path]:
    run = again(room / "poor", tmp_path)
    shutil.copy(room / "good.jsonl", run / "predictions.jsonl")
    return room / "good", run


REFUSALS: list[tuple[Make, int, str]] = [
    (
        other_documents, 2,
        "clinnlp: error[CLN-D2] runs good and fewer were scored on different documents: 1 of 40 are of the first "
        "alone, 0 of 39 of the second alone. Kept: nothing was written. Next: score them on the same notes.\n",
    ),
    (
        other_texts, 2,
        "clinnlp: error[CLN-D2] runs good and edited were scored on different texts in 1 of 40 documents. "
        "Kept: nothing was written. Next: score them on the same.\n",
    ),
    (
        other_gold, 2,
        "clinnlp: error[CLN-D2] runs good and regraded were scored against different annotations or groups in 1 of 40 "
        "documents. Kept: nothing was written. Next: score them against the same gold, or give it with --data.test.\n",
    ),
    (
        other_labels, 2,
        "clinnlp: error[CLN-D2] the label sets of runs good and devices differ: 'DEVICE' only in devices. "
        "Kept: nothing was written. Next: compare runs with the same labels, or --label_sets join to score all over "
        "the labels of all.\n",
    ),
    (
        other_task, 2,
        "clinnlp: error[CLN-D2] the tasks differ: run good has scores of entity, run types has scores of notes. "
        "Kept: nothing was written. Next: compare runs of one task.\n",
    ),
    (
        unfinished, 2,
        "clinnlp: error[CLN-D2] RUN: this run is not finished (failed). Kept: nothing was written. "
        "Next: finish or repeat it.\n",
    ),
    (
        another_verb, 2,
        "clinnlp: error[CLN-C2] RUN: a run of 'label' cannot be compared. Kept: nothing was written. "
        "Next: give runs of finetune, evaluate, crossvalidate, multitask task.\n",
    ),
    (
        no_run, 2,
        "clinnlp: error[CLN-C2] RUN: no run lies here: there is no manifest.json. Kept: nothing was written. "
        "Next: give the folders of finetune, evaluate, crossvalidate, multitask task runs.\n",
    ),
    (
        without_score, 2,
        "clinnlp: error[CLN-C2] RUN: this run was saved without a score: there is no metrics.json. "
        "Kept: nothing was written. Next: give the folders of finetune, evaluate, crossvalidate, multitask task "
        "runs.\n",
    ),
    (
        broken, 7,
        "clinnlp: error[CLN-I7] RUN: its manifest.json or metrics.json is not that of a run (TypeError). "
        "Kept: nothing was written. Next: copy the run again.\n",
    ),
    (
        changed_predictions, 4,
        "clinnlp: error[CLN-R4] RUN.jsonl: the predictions have changed since run drawn scored them. "
        "Kept: nothing was written. Next: score them again.\n",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "status", "message"), REFUSALS, ids=[make.__name__ for make, _, _ in REFUSALS])
def test_what_cannot_be_compared_is_refused_by_name(
    make: Make, status: int, message: str, room: Path, tmp_path: Path, capsys: Told
) -> None:
    first, second = make(room, tmp_path)
    found, told = refused(capsys, tmp_path / "out", first, second)
    assert (found, told.replace(str(second), "RUN")) == (status, message)


def test_scores_that_are_not_of_the_predictions_are_refused(room: Path, tmp_path: Path, capsys: Told) -> None:
    _, run = other_scores(room, tmp_path)
    status, told = refused(capsys, tmp_path / "out", room / "good", run)
    assert status == 7
    assert told.startswith(f"clinnlp: error[CLN-I7] {run}: the metrics.json of run changed is not of its predictions: ")


def test_label_sets_are_joined_if_asked(room: Path, tmp_path: Path) -> None:
    found = compare(tmp_path / "out", *other_labels(room, tmp_path), "--label_sets", "join")
    own = read_json(tmp_path / "devices" / "metrics.json")["entity"]["strict"]
    for measure, average in (("micro_f1", "micro"), ("macro_f1", "macro_in_gold")):
        value = found["entity"][measure]["runs"]["devices"]["value"]
        assert value == pytest.approx(own[average]["f1"], abs=1e-12)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a"], "runs: a comparison takes two runs or more, got 1. Next: name another run."),
        (["a", "b", "--arms", "x,x"], "arms: 2 names, 1 of them different, for 2 runs. "),
        (["a", "b", "--arms", "x"], "arms: 1 names, 1 of them different, for 2 runs. "),
        (["a", "b", "--resamples", "10"], "resamples: must be 100 or more."),
        (["a", "b", "--interval", "wald"], "interval: should be 'percentile' or 'bca', got str."),
    ],
)
def test_settings_that_make_no_sense(words: list[str], message: str, tmp_path: Path, capsys: Told) -> None:
    assert clinnlp("compare", *words, "--out", tmp_path / "out") == 2
    assert f"clinnlp: error[CLN-C2] {message}" in capsys.readouterr().err
