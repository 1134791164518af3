"""Every task from notes to a model folder, to scores, to labels: each is trained once, on a tiny model."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

import clinnlp
from tests.proof import in_fresh_processes
from tests.recipes.command import FAST, notes, read_json, write_jsonl
from tests.recipes.command import clinnlp as command
from tests.recipes.conftest import LORA

Tiny = Callable[[str], Path]
FULL = ("--strategy", "full", "--fit.learning_rate", 5e-3, "--fit.epochs", 6, "--task.window", 24, "--task.overlap", 8)
TYPES = ("--data.labels_field", "note_type")
Run = tuple[Callable[[dict[str, Any]], dict[str, Any]], tuple[object, ...], tuple[object, ...]]


def as_it_is(note: dict[str, Any]) -> dict[str, Any]:
    return note


def nested(note: dict[str, Any]) -> dict[str, Any]:
    """A span over both of the note's, a second label on the first, and one that crosses it."""
    drug, problem = note["spans"]
    more = [(drug["start"], problem["end"], "PLAN"), (drug["start"], drug["end"], "THING"), (0, drug["end"], "WAY")]
    return note | {"spans": note["spans"] + [{"start": a, "end": b, "label": label} for a, b, label in more]}


def sentences(note: dict[str, Any]) -> dict[str, Any]:
    """The two lines of a note, the first by its kind."""
    first = note["text"].index("\r\n")
    bounds = ((0, first, note["note_type"].upper()), (first + 2, len(note["text"]), "FOLLOW_UP"))
    return note | {"spans": [{"start": start, "end": end, "label": label} for start, end, label in bounds]}


def attributes(note: dict[str, Any]) -> dict[str, Any]:
    """The problem of every other note is denied, and of a visit it has a certainty."""
    drug, problem = note["spans"]
    given: dict[str, Any] = {"certainty": "possible"} if note["note_type"] == "visit" else {}
    text = note["text"]
    if int(note["id"].rsplit("-", 1)[1]) % 2:
        text = text[: problem["start"] - 1] + " no " + text[problem["start"] :]
        problem = problem | {"start": problem["start"] + 3, "end": problem["end"] + 3}
        given["negated"] = True
    return note | {"text": text, "spans": [drug, problem | {"attributes": given}]}


RUNS: dict[str, Run] = {  # what is made of the notes, words of finetune, words on the data
    "crf-lora": (as_it_is, ("--task", "ner", "--task.crf", "true", *LORA), ()),
    "crf-full": (as_it_is, ("--task", "ner", "--task.crf", "true", *FULL), ()),
    "attention": (as_it_is, ("--task", "note_classification", "--task.pooling", "attention", *FULL), TYPES),
    "nested-lora": (nested, ("--task", "nested_ner", "--task.size", 16, *LORA, "--fit.epochs", 30), ()),
    "attributes-lora": (attributes, ("--task", "span_attributes", *LORA), ()),
    "sentences-lora": (sentences, ("--task", "sentence_classification", *LORA), ()),
}


@pytest.fixture(scope="module")
def runs(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Give a name in RUNS, get the folder of the run, made once, and its notes; one is proved in a fresh process."""
    made: dict[str, tuple[Path, Path]] = {}

    def get(name: str) -> tuple[Path, Path]:
        if name not in made:
            change, words, data = RUNS[name]
            folder = tmp_path_factory.mktemp(name)
            for split, count in (("train", 40), ("dev", 10), ("test", 12)):
                path = write_jsonl(folder / f"{split}.jsonl", map(change, notes(count, split)))
                data = (*data, f"--data.{split}", path)
            given = ("--base", tiny("bert"), *data, *FAST, "--fit.evaluations", 2, "--seed", 1)
            with in_fresh_processes() if name == "crf-lora" else nullcontext():
                assert command("finetune", *given, *words, "--out", folder / "run") == 0
            made[name] = folder / "run", folder / "test.jsonl"
        return made[name]

    return get


def headline(run: Path) -> Any:
    metrics = read_json(run / "metrics.json")
    part = metrics["entity"]["strict"] if "entity" in metrics else metrics["notes"]
    return part["micro"]


@pytest.mark.parametrize("name", RUNS)
def test_it_learns_and_is_evaluated_and_labels_alike(
    name: str, runs: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    run, test = runs(name)
    assert headline(run)["f1"] > 0.6
    gold = ("--data.test", test, *RUNS[name][2], "--seed", 1)
    assert command("evaluate", "--model", run / "model", *gold, "--out", tmp_path / "scores") == 0
    assert headline(tmp_path / "scores") == headline(run)
    out = tmp_path / "labels"
    assert command("label", "--model", run / "model", "--notes", test, "--workers", 0, "--out", out) == 0
    told = [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    wanted = sorted((d["id"], s["start"], s["end"], s["label"]) for d in told for s in d.get("spans", []))
    found = clinnlp.read_labels(out)
    assert sorted((s.document_id, s.start, s.end, s.label) for s in found.spans.itertuples()) == wanted
    assert len(found.documents) == 12
    if name.startswith("attributes"):
        carried = [s.get("attributes", {}) for d in told for s in d["spans"]]
        assert sum("negated" in one for one in carried) > 3 and sum("certainty" in one for one in carried) > 3
        known = [json.loads(one).keys() for one in found.spans.attributes]
        assert sorted(map(sorted, known)) == sorted(map(sorted, carried))
    else:
        assert "attributes" not in found.spans


@pytest.mark.parametrize("name", RUNS)
def test_plain_libraries_load_the_encoder(name: str, runs: Callable[[str], tuple[Path, Path]], tiny: Tiny) -> None:
    from peft import PeftModel
    from transformers import AutoModel

    folder = runs(name)[0] / "model"
    if (folder / "adapter_config.json").is_file():
        ours: Any = clinnlp.load(folder).trained.model
        theirs = type(ours).from_pretrained(tiny("bert"), config=ours.config)
        found = PeftModel.from_pretrained(theirs, folder).eval().base_model.model.base_model
    else:
        ours, found = clinnlp.load(folder).trained.model, AutoModel.from_pretrained(folder).eval()
    ids = torch.arange(5, 25)[None]
    with torch.inference_mode():
        wanted = ours.base_model(input_ids=ids).last_hidden_state
        assert torch.allclose(found(input_ids=ids).last_hidden_state, wanted, atol=1e-5)


def test_attributes_are_scored_beside_rules_and_predictions_of_others_alike(
    runs: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    run, test = runs("attributes-lora")
    metrics = read_json(run / "metrics.json")
    assert metrics["entity"]["strict"]["per_label"].keys() == {"negated=true", "certainty=possible"}
    assert metrics["entity"]["strict"]["per_label"]["negated=true"]["f1_interval"]["units"] > 1
    rules = metrics["rules"]["per_label"]
    assert rules["negated=true"]["f1"] == 1.0, "the cue is no"
    assert rules["certainty=possible"]["tp"] == 0, "no cue says so"
    assert "Rules on the same notes, beside the model:" in (run / "report.txt").read_text(encoding="utf-8")
    words = ("--predictions", run / "predictions.jsonl", "--data.test", test, "--task", "span_attributes", "--seed", 1)
    assert command("evaluate", *words, "--out", tmp_path / "scores") == 0
    assert headline(tmp_path / "scores") == headline(run)
    assert command("compare", run, tmp_path / "scores", "--out", tmp_path / "both") == 0
    compared = read_json(tmp_path / "both" / "metrics.json")["entity"]
    assert compared["by_label"].keys() == {"negated=true", "certainty=possible"}


@pytest.mark.parametrize(
    "name", ["crf-lora", *(pytest.param(name, marks=pytest.mark.slow) for name in ("nested-lora", "attributes-lora"))]
)
def test_an_export_says_the_same(name: str, runs: Callable[[str], tuple[Path, Path]], tmp_path: Path) -> None:
    run, test = runs(name)
    words = ("--engine", "openvino", "--data.dev", test.with_name("dev.jsonl"), "--out", tmp_path / "run")
    assert command("export", run / "model", *words) == 0
    agreed = read_json(tmp_path / "run" / "agreement.json")
    assert agreed["agreement"] == 1.0 and agreed["lost_points"] == 0.0
    gold = ("--data.test", test, "--seed", 1, "--out", tmp_path / "scores")
    assert command("evaluate", "--model", tmp_path / "run" / "model", *gold) == 0
    assert headline(tmp_path / "scores") == headline(run)


def test_spans_that_are_marked_are_part_of_the_input_and_are_handed_over_with_their_attributes(
    runs: Callable[[str], tuple[Path, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, test = runs("attributes-lora")
    records = [json.loads(line) for line in test.read_text(encoding="utf-8").splitlines()]
    drug, problem = records[0]["spans"]
    pieces = [[drug["start"], drug["end"]], [problem["start"], problem["end"]]]
    records[0]["spans"].append({"start": drug["start"], "end": problem["end"], "label": "DRUG", "fragments": pieces})
    problem["attributes"]["window"] = "evening"  # a name of ours, said by others
    records[0]["label_scores"] = "high"
    source = write_jsonl(tmp_path / "notes.jsonl", records)
    words = ("label", "--model", run / "model", "--notes", source, "--workers", 0, "--out", tmp_path / "labels")
    assert command(*words, "--to", "jsonl", "--to_path", tmp_path / "to.jsonl") == 0
    given, found = clinnlp.read(source, "jsonl"), list(clinnlp.read(tmp_path / "to.jsonl", "jsonl"))
    assert [[span.key for span in note.spans] for note in found] == [[span.key for span in d.spans] for d in given]
    rows = clinnlp.read_labels(tmp_path / "labels").spans
    assert found[0].meta["label_scores"] == "high"
    assert [dict(span.attributes) for note in found for span in note.spans] == list(map(json.loads, rows.attributes))
    records[1]["spans"].pop()
    write_jsonl(source, records)
    capsys.readouterr()
    assert command(*words) == 4, "its text is the same, but not what is asked of it"
    assert "shard 0 of 1 (notes 1 to 12), 1 documents differ" in capsys.readouterr().err
    assert command(*words, "--relabel", "true") == 0
    assert len(clinnlp.read_labels(tmp_path / "labels").spans) == len(rows) - 1


def test_other_spans_make_no_other_note_for_a_model_that_reads_none(
    runs: Callable[[str], tuple[Path, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, test = runs("nested-lora")
    words = ("label", "--model", run / "model", "--workers", 0, "--out", tmp_path / "labels", "--notes")
    assert command(*words, test) == 0
    records = [json.loads(line) | {"spans": []} for line in test.read_text(encoding="utf-8").splitlines()]
    assert command(*words, write_jsonl(tmp_path / "test.jsonl", records)) == 0
    assert "nothing to do" in capsys.readouterr().err
