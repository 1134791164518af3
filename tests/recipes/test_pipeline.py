"""All stages from one config, each fed by the one before."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import clinnlp
from clinnlp import config
from clinnlp.core.run import sha256_files
from clinnlp.errors import ChangedError
from clinnlp.recipes.pipeline import Pipeline, _check_notes, plan
from tests.recipes.command import clinnlp as command
from tests.recipes.command import read_json, write_jsonl


def test_each_stage_feeds_the_next(tiny: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        f"""
base: {tiny("bert")}
root: {corpus}
pretrain: {{data: {{train: train.jsonl}}, block: 64, held_out: 0.2, fit: {{max_steps: 2, batch: 8, device: cpu}}}}
finetune:
  data: {{train: train.jsonl, dev: dev.jsonl}}
  strategy: lora
  fit: {{max_steps: 2, batch: 8, device: cpu}}
evaluate: {{data: {{test: test.jsonl}}}}
label: {{notes: test.jsonl, format: jsonl}}
"""
    )
    out = tmp_path / "out"
    assert command("pipeline", path, "--seed", 5, "--out", out) == 0
    manifests = {
        name: read_json(out / name / "manifest.json") for name in ("pretrain", "finetune", "evaluate", "label")
    }
    assert {name: m["status"] for name, m in manifests.items()} == dict.fromkeys(manifests, "done")
    assert manifests["finetune"]["settings"]["base"] == str(out / "pretrain" / "model")
    assert manifests["evaluate"]["settings"]["model"] == str(out / "finetune" / "model")
    assert manifests["finetune"]["seed"] == 5
    assert manifests["label"]["facts"]["labeled"] == 12
    assert len(clinnlp.read_labels(out / "label").documents) == 12
    assert read_json(out / "manifest.json")["facts"]["stages"] == list(manifests)
    assert command("pipeline", path, "--seed", 5, "--out", out) == 5, "it is finished"

    # broken off while it was scored, and given again
    shutil.rmtree(out / "label")
    for folder in (out, out / "evaluate"):
        (folder / "manifest.json").write_text(json.dumps(read_json(folder / "manifest.json") | {"status": "running"}))
    before = (out / "finetune" / "manifest.json").read_bytes()
    held = (corpus / "dev.jsonl").read_bytes()
    (corpus / "dev.jsonl").write_bytes(held + held.splitlines()[0].replace(b'"id": "dev', b'"id": "another'))
    try:
        assert command("pipeline", path, "--seed", 5, "--out", out) == 4, "other notes than those of a finished stage"
    finally:
        (corpus / "dev.jsonl").write_bytes(held)
    assert command("pipeline", path, "--seed", 5, "--out", out) == 0
    assert (out / "finetune" / "manifest.json").read_bytes() == before, "what is done is not done again"
    assert len(clinnlp.read_labels(out / "label").documents) == 12


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("finetune: {data: {trian: x}}", "finetune.data.trian: unknown key."),
        ("label: {format: jsonl}", "label.notes: this setting is required."),
        ("finetune: 3", "finetune: should be a valid dictionary, got int."),
    ],
)
def test_every_stage_is_checked_before_the_first_starts(
    stage: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(f"base: x\npretrain: {{data: {{train: absent.jsonl}}}}\n{stage}\n")
    assert command("pipeline", path, "--out", tmp_path / "out") == 2
    assert f"clinnlp: error[CLN-C2] {message}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("stage", "part"), [("pretrain", "corpus 0"), ("finetune", "dev")])
def test_a_stage_that_is_done_is_not_gone_on_from_with_other_notes(stage: str, part: str, tmp_path: Path) -> None:
    notes = write_jsonl(tmp_path / "n.jsonl", [{"id": "1", "text": "fever"}])
    out, path = tmp_path / "out", tmp_path / "p.yaml"
    path.write_text(
        f"base: x\nroot: {tmp_path}\npretrain: {{data: {{train: n.jsonl}}}}\n"
        "finetune: {data: {train: n.jsonl, dev: n.jsonl}}\nlabel: {notes: n.jsonl, format: jsonl}\n"
    )

    for name in ("pretrain", "finetune"):
        read = {part: sha256_files([notes])} if name == stage else {}
        (out / name).mkdir(parents=True)
        (out / name / "manifest.json").write_text(json.dumps({"status": "done", "data_sha256": read}))
    settings = plan(config.build(Pipeline, config.load_yaml(path) | {"out": str(out)}))
    _check_notes(stage, settings[stage])
    notes.write_text(notes.read_text().replace("fever", "cough"))
    with pytest.raises(ChangedError, match=rf"the notes of {stage} \({part}\) are not those that it read"):
        _check_notes(stage, settings[stage])
    notes.unlink()
    _check_notes(stage, settings[stage])


def test_a_stage_that_fails_leaves_what_was_made_before(
    tiny: Callable[[str], Path], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        f"base: {tiny('bert')}\nroot: {corpus}\n"
        "pretrain: {data: {train: train.jsonl}, block: 64, held_out: 0.2, fit: {max_steps: 1, device: cpu}}\n"
        "finetune: {data: {train: absent.jsonl}}\n"
    )
    out = tmp_path / "out"
    assert command("pipeline", path, "--out", out) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"clinnlp: error[CLN-C2] {corpus}/absent.jsonl: no such file. "
        f"Kept: {out}, marked as failed. Next: check the path and the format."
    )
    assert read_json(out / "manifest.json")["status"] == "failed"
    assert read_json(out / "pretrain" / "manifest.json")["status"] == "done"
    assert not (out / "finetune").exists()
