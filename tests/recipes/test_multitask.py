"""Several tasks on one encoder: one run, a model for each task, one pass of labeling; what cannot be done is told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
from safetensors.torch import load_file

import clinnlp
from clinnlp.engines.base import engine_named
from clinnlp.labeling.model import ModelFolder
from clinnlp.labeling.together import Member, alike, share
from tests.recipes.command import FAST, notes, read_json, write_jsonl
from tests.recipes.command import clinnlp as command

Words = list[object]
WINDOW = ("window", 24), ("overlap", 8)
NAMES = ("entities", "type", "attributes")


def with_attributes(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The notes, with problems that are new or not by the kind of the note."""
    for record in records:
        record["spans"][1]["attributes"] = {"new": record["note_type"] == "visit"}
    return records


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, count in (("train", 40), ("dev", 10), ("test", 12)):
        write_jsonl(folder / f"{name}.jsonl", with_attributes(notes(count, name)))
    return folder


def words_of(tiny: Callable[[str], Path], data: Path, *more: object, kind: str = "bert") -> Words:
    """A command with three tasks, without --out."""
    paths = {name: data / f"{name}.jsonl" for name in ("train", "dev", "test")}
    given: Words = ["multitask", "--base", tiny(kind), *FAST, "--seed", 1, "--fit.evaluations", 2]
    given += [word for name, path in paths.items() for word in (f"--data.{name}", path)]
    given += [word for name, path in paths.items() for word in (f"--tasks.type.data.{name}", path)]
    given += ["--tasks.entities.task", "ner", "--tasks.type.task", "note_classification"]
    given += ["--tasks.attributes.task", "span_attributes", "--tasks.type.data.labels_field", "note_type"]
    for name in NAMES:
        given += [word for key, value in WINDOW for word in (f"--tasks.{name}.task.{key}", value)]
    return [*given, *more]


LORA = ("--strategy.head_learning_rate", 1e-2, "--fit.learning_rate", 1e-2, "--fit.epochs", 10)


@pytest.fixture(scope="module")
def run(tiny: Callable[[str], Path], data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("multitask") / "run"
    assert command(*words_of(tiny, data, *LORA), "--out", out) == 0
    return out


def encoder_of(folder: Path) -> dict[str, Any]:
    """The weights of a model folder that are not of its head."""
    held = load_file(next(folder.glob("*.safetensors")))
    return {name: weight for name, weight in held.items() if "classifier" not in name and "pooler" not in name}


def test_a_model_folder_for_each_task_with_one_adapter(run: Path) -> None:
    adapters = [encoder_of(run / name / "model") for name in NAMES]
    assert adapters[0] and all("lora_" in name for name in adapters[0])
    for other in adapters[1:]:
        assert other.keys() == adapters[0].keys()
        assert all(other[name].equal(weight) for name, weight in adapters[0].items())
    for name in NAMES:
        assert (run / name / "predictions.jsonl").is_file() and (run / name / "report.html").is_file()
        assert read_json(run / name / "manifest.json")["facts"]["reload_difference"] < 1e-5
        assert clinnlp.load(run / name / "model") is not None


def test_all_tasks_learn(run: Path) -> None:
    told = read_json(run / "metrics.json")
    assert {name: held["task"] for name, held in told["tasks"].items()} == {
        "entities": "ner", "type": "note_classification", "attributes": "span_attributes",
    }  # fmt: skip
    for name, held in told["tasks"].items():
        metrics = read_json(run / name / "metrics.json")
        part = metrics["notes"] if name == "type" else metrics["entity"]["strict"]
        assert held["score"] == part["micro"]["f1"] > 0.75, name
        assert held["interval"][0] <= held["score"] <= held["interval"][1]
    mean = sum(held["dev"] for held in told["tasks"].values()) / 3
    assert told["mean_dev"] == pytest.approx(mean), "the weights that are saved are those that were chosen"
    assert sum(held["share"] for held in told["tasks"].values()) == pytest.approx(1)
    assert told["passes"] == 1
    text = (run / "report.txt").read_text(encoding="utf-8")
    assert "runs it once a note" in text and "span_attributes" in text


@pytest.mark.parametrize(("engine", "left"), [(None, 1), ("packed-fp32", 2)])
def test_labeling_runs_the_encoder_once(run: Path, engine: str | None, left: int) -> None:
    """A packed encoder is shared by heads of one kind."""
    chosen = engine_named(engine) if engine else None
    members = [Member.load(ModelFolder(run / name / "model", None, chosen, name)) for name in NAMES]
    groups = alike(members)
    assert groups == [[0, 1, 2]]
    assert share(members) == left


def test_one_pass_says_what_separate_runs_say(run: Path, data: Path, tmp_path: Path) -> None:
    words = ("label", "--workers", 0, "--notes", data / "test.jsonl")
    named = [word for name in NAMES for word in (f"--models.{name}", run / name / "model")]
    assert command(*words, *named, "--out", tmp_path / "all") == 0
    spans, documents = clinnlp.read_labels(tmp_path / "all")
    for name in NAMES:
        assert command(*words, "--model", run / name / "model", "--out", tmp_path / name) == 0
        alone = clinnlp.read_labels(tmp_path / name)
        mine = spans[spans.model == name].drop(columns="model").reset_index(drop=True)
        assert len(mine) == len(alone.spans) and (len(mine) > 0 or name == "type")
        shared = [column for column in alone.spans.columns if column in mine.columns]
        windows = alone.spans[shared].astype({"window": mine.window.dtype})  # of spans that were given it is not known
        pandas.testing.assert_frame_equal(mine[shared], windows, check_exact=True)
        for row, one in zip(documents.itertuples(), alone.documents.itertuples(), strict=True):
            said = zip(row.label_models, row.labels, row.label_scores, strict=True)
            own = [(label, score) for by, label, score in said if by == name]
            assert own == list(zip(one.labels, one.label_scores, strict=True))


def test_attributes_of_spans_that_are_found_in_the_same_pass(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are those that a second run says of the spans of a first; each span comes once, with its attributes."""
    bare = [json.loads(line) for line in (data / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    source = write_jsonl(tmp_path / "bare.jsonl", [{"id": note["id"], "text": note["text"]} for note in bare])
    words = ("label", "--workers", 0, "--notes", source)
    named = [word for name in NAMES for word in (f"--models.{name}", run / name / "model")]
    assert command(*words, *named, "--spans_of", "entities", "--out", tmp_path / "all") == 0
    first = ("--model", run / "entities" / "model", "--to", "jsonl", "--to_path", tmp_path / "found.jsonl")
    assert command(*words, *first, "--out", tmp_path / "first") == 0
    second = ("label", "--workers", 0, "--notes", tmp_path / "found.jsonl", "--model", run / "attributes" / "model")
    assert command(*second, "--out", tmp_path / "second") == 0
    together, apart = (clinnlp.read_labels(tmp_path / name).spans for name in ("all", "second"))
    assert set(together.model) == {"entities"} and len(together) == len(apart) > 12
    same = ["document_id", "start", "end", "label", "score"]
    pandas.testing.assert_frame_equal(together[same], apart[same], check_exact=True)
    said = [{k: v for k, v in json.loads(one).items() if k.startswith("new")} for one in together.attributes]
    assert said == [{k: v for k, v in json.loads(one).items() if k.startswith("new")} for one in apart.attributes]
    assert any(one.get("new") for one in said) and not all(one.get("new") for one in said)
    assert command(*words, *named, "--out", tmp_path / "all") == 4, "another setting, another run"
    capsys.readouterr()
    for wrong, told in (
        ("drugs", "spans_of: no model has this name. Next: give one of entities, type, attributes"),
        ("type", "spans_of: this takes one model that finds spans and another that says attributes of them"),
        ("attributes", "spans_of: this takes one model that finds spans"),
    ):
        assert command(*words, *named, "--spans_of", wrong, "--out", tmp_path / "b") == 2
        assert told in capsys.readouterr().err
    assert command(*words, *named[:4], "--spans_of", "entities", "--out", tmp_path / "b") == 2
    assert "name a model of ner, beside one of span_attributes" in capsys.readouterr().err


def test_a_model_scores_by_itself_as_in_the_run_and_knows_all_that_was_trained_on(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("evaluate", "--model", run / "entities" / "model")
    assert command(*words, "--data.test", data / "test.jsonl", "--out", tmp_path / "again") == 0
    again, first = (
        read_json(place / "metrics.json")["entity"]["strict"] for place in (tmp_path / "again", run / "entities")
    )
    assert again == first
    assert command("compare", run / "entities", tmp_path / "again", "--out", tmp_path / "compared") == 0
    assert command("compare", run, tmp_path / "again", "--out", tmp_path / "b") == 2
    assert "a run of 'multitask' cannot be compared" in capsys.readouterr().err


def test_all_weights_of_roberta(tiny: Callable[[str], Path], data: Path, tmp_path: Path) -> None:
    more = ("--strategy", "full", "--fit.max_steps", 3)
    assert command(*words_of(tiny, data, *more, kind="roberta"), "--out", tmp_path / "run") == 0
    first, *others = (encoder_of(tmp_path / "run" / name / "model") for name in NAMES)
    assert first and all(one[name].equal(weight) for one in others for name, weight in first.items())


def test_another_window_costs_a_pass_and_is_told(
    tiny: Callable[[str], Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also: one task has dev notes of its own and the others none; adapters are merged."""
    words = words_of(tiny, data, "--fit.max_steps", 2, "--strategy.merge", "true", "--tasks.type.task.window", 32)
    del words[(at := words.index("--data.dev")) : at + 2]
    assert command(*words, "--out", tmp_path / "run") == 0
    told = read_json(tmp_path / "run" / "metrics.json")
    assert told["passes"] == 2 and told["tasks"]["entities"]["dev"] is None
    assert told["mean_dev"] == told["tasks"]["type"]["dev"]
    assert "cut notes in 2 ways" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert (
        "tasks without dev notes have no say in which weights are kept: entities, attributes" in capsys.readouterr().err
    )
    first, *others = (encoder_of(tmp_path / "run" / name / "model") for name in NAMES)
    assert first and not any("lora" in name for name in first)
    assert all(one[name].equal(weight) for one in others for name, weight in first.items())


REFUSED = {
    (
        "--tasks",
        "{a: {task: ner}}",
    ): "tasks: 1 tasks given, two or more are needed. Next: name each under tasks:, or use",
    ("--tasks", "{}"): "tasks: 0 tasks given",
    ("--tasks", "[ner, ner]"): "tasks: should be settings by name, got list",
    ("--tasks.Type.task", "ner"): "tasks: two tasks have one name, up to case",
    ("--tasks.checkpoints.task", "ner"): "or one is called checkpoints",
    ("--tasks.a/b.task", "ner"): "tasks: 1 names are not made of letters, digits, - and _ alone",
    ("--tasks.type.weight", 0): "tasks.type.weight: must be over 0",
    ("--tasks.type.wait", 2): "tasks.type.wait: unknown key. Next: Did you mean 'weight'?",
    ("--tasks.type.data.target", "x"): "tasks.type.data.target: unknown key",
    ("--temperature", 0.5): "temperature: must be 1 or more",
    ("--strategy", "top_layers"): "strategy.cache: what lies under the trained layers is not kept for several tasks",
    ("--tasks.more.data.dev", "x"): "tasks.more.data.train: no notes to train on. Next: give --tasks.more.data.train",
}


@pytest.mark.parametrize("given", REFUSED, ids=lambda given: " ".join(map(str, given)))
def test_settings_that_are_refused(
    given: tuple[object, ...], tiny: Callable[[str], Path], data: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = words_of(tiny, data, *given)
    if given[0] == "--tasks":
        words = [*words[:3], *given]
    assert command(*words, "--out", tmp_path / "run") == 2
    assert REFUSED[given] in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_name_that_is_given_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("base: x\ntasks:\n  a: {task: ner}\n  a: {task: ner}\n", encoding="utf-8")
    assert command("multitask", config, "--out", tmp_path / "run") == 2
    assert "a: key given twice" in capsys.readouterr().err


def test_notes_that_a_task_cannot_use_name_the_task(
    tiny: Callable[[str], Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = write_jsonl(tmp_path / "bare.jsonl", [{"id": f"b{n}", "text": "fever"} for n in range(4)])
    words = words_of(tiny, data, "--tasks.type.data.train", bare, "--tasks.type.data.labels_field", "labels")
    assert command(*words, "--out", tmp_path / "a") == 2
    assert (
        "tasks.type: data.train: the training data holds no labels for note_classification" in capsys.readouterr().err
    )
    empty = [{"id": f"e{n}", "text": " ", "note_type": kind} for n, kind in enumerate(("plan", "visit"))]
    words = words_of(tiny, data, "--tasks.type.data.train", write_jsonl(tmp_path / "empty.jsonl", empty))
    assert command(*words, "--out", tmp_path / "b") == 2
    assert "tasks.type: data.train: none of the 2 notes holds a token to learn from" in capsys.readouterr().err
    assert command(*words_of(tiny, data, "--tasks.type.data.train", tmp_path / "none"), "--out", tmp_path / "c") == 2
    assert "tasks.type: " in capsys.readouterr().err


def test_a_task_may_not_train_on_what_another_is_scored_on(
    tiny: Callable[[str], Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = " patient was seen again and is well" * 8
    shared = [{"id": f"s{n}", "text": f"note {n}{long}", "note_type": "visit", "group": f"s{n}"} for n in range(3)]
    train = [json.loads(line) for line in (data / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    test = [json.loads(line) for line in (data / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    mine = write_jsonl(tmp_path / "train.jsonl", [*train, *shared])
    other = [{**one, "spans": [], "id": f"t{one['id']}", "group": None} for one in shared[:2]]
    theirs = write_jsonl(tmp_path / "test.jsonl", [*test, *other])
    leak = ("--tasks.type.data.train", mine, "--data.test", theirs, "--fit.max_steps", 1)
    assert command(*words_of(tiny, data, *leak), "--out", tmp_path / "a") == 4
    told = capsys.readouterr().err
    assert (
        "data.test: notes of test notes of entities with a text of 200 or more characters that train notes of type"
        in told
    )
    assert "holds too: 2: the encoder reads the training notes of all tasks" in told
    assert "--data.allow duplicates: the report then says so on top" in told
    assert command(*words_of(tiny, data, *leak, "--data.allow", "duplicates"), "--out", tmp_path / "b") == 0
    assert len(read_json(tmp_path / "b" / "entities" / "metrics.json")["waived"]) == 1
    waived = read_json(tmp_path / "b" / "metrics.json")["waived"]
    assert len(waived) == 2 and waived[0].startswith("entities: duplicates: notes of test notes of entities")
    assert (tmp_path / "b" / "report.txt").read_text(encoding="utf-8").startswith("waived: entities: ")
    again = ("evaluate", "--model", tmp_path / "b" / "attributes" / "model", "--data.test", mine)
    assert command(*again, "--out", tmp_path / "c") == 4, "a model knows the notes of tasks beside it"
    groups = [{**one, "text": f"other {n}{long}", "group": shared[n]["group"]} for n, one in enumerate(other)]
    theirs = write_jsonl(tmp_path / "groups.jsonl", [*test, *groups])
    assert command(*words_of(tiny, data, *leak[:2], "--data.test", theirs), "--out", tmp_path / "d") == 4
    told = capsys.readouterr().err
    assert "groups (patients) in both train notes of type and test notes of entities: 2" in told
    assert "split all tasks by the same patients, or --data.allow groups" in told


KINDS = {
    "bf16": ("--fit.precision", "bf16"),
    "recompute, ema": ("--fit.recompute", "true", "--fit.average", "ema"),
    "gradual": ("--strategy", "gradual_unfreeze", "--fit.layer_decay", 0.9, "--fit.base_penalty", 0.1,
                "--fit.fresh_layers", 1),
    "top": ("--strategy", "top_layers", "--strategy.cache", "false"),
    "half, balanced": ("--strategy.layers", "top_half", "--fit.accumulate", 2, "--fit.balance", 1.0),
    "other heads": ("--tasks.entities.task.crf", "true", "--tasks.nest.task", "nested_ner", "--tasks.nest.task.window",
                    24, "--tasks.nest.task.overlap", 8, "--tasks.type.task.pooling", "attention"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert", "deberta_v2", "electra"])
@pytest.mark.parametrize("how", KINDS)
def test_one_encoder_is_left_whatever_moves(
    tiny: Callable[[str], Path], data: Path, tmp_path: Path, kind: str, how: str
) -> None:
    words = words_of(tiny, data, "--fit.max_steps", 3, "--fit.evaluations", 1, *KINDS[how], kind=kind)
    assert command(*words, "--out", tmp_path / "run") == 0
    folders = sorted((tmp_path / "run").glob("*/model"))
    members = [Member.load(ModelFolder(folder, None, None, folder.parent.name)) for folder in folders]
    assert [len(group) for group in alike(members)] == [4 if how == "other heads" else 3]
    assert share(members) == 1
