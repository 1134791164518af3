"""Pretraining on notes: from a base with or without an LM head, and from random weights."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM

from clinnlp import plugins
from clinnlp.recipes._pretraining_report import _axis
from tests.recipes.command import FAST, clinnlp, read_json, write_jsonl
from tests.tiny import sentences

Tiny = Callable[[str], Path]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty notes, of which ten are copies and one is empty."""
    texts = sentences(70)
    records = [{"id": str(n), "text": text} for n, text in enumerate([*texts, *texts[:9], " "])]
    return write_jsonl(tmp_path_factory.mktemp("lines") / "n.jsonl", records)


def pretraining(out: Path) -> dict[str, object]:
    return read_json(out / "metrics.json")["pretraining"]


def test_continued_pretraining_lowers_perplexity(
    tiny: Tiny, lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ("--data.train", lines, "--data.format", "jsonl", "--block", 64, "--held_out", 0.1, "--fit.epochs", 3)
    assert clinnlp("pretrain", "--base", tiny("bert"), *words, *FAST, "--fit.learning_rate", 3e-3, "--out", out) == 0
    facts = pretraining(out)
    held_out = facts["held_out"]["notes"]
    assert held_out["perplexity_after"] < 0.8 * held_out["perplexity_before"]
    assert held_out["perplexity_after"] == pytest.approx(math.exp(held_out["loss_after"]))
    assert facts["packed"] is True
    assert facts["row_size"] == 64
    assert facts["fill"] > 0.8
    assert read_json(out / "manifest.json")["facts"]["notes"] == {
        "notes": 80, "empty": 1, "repeated": 9, "nearly repeated": 0, "quarantined": 0, "train": 63, "held_out": 7,
    }  # fmt: skip
    model, info = AutoModelForMaskedLM.from_pretrained(out / "model", output_loading_info=True)
    assert not info["missing_keys"]
    assert model.config.hidden_dropout_prob == 0.1, "the config keeps the base's dropout"
    assert "fresh" not in capsys.readouterr().err
    held = read_json(out / "trained_texts.json")
    assert (held["what"], held["hashes"], held["before"]) == ("pretraining", [], []), "all texts are short"
    report = (out / "report.txt").read_text(encoding="utf-8")
    before, after = (f"{held_out[f'perplexity_{when}']:,.2f}" for when in ("before", "after"))
    row = next(line for line in report.splitlines() if line.startswith("held-out notes"))
    assert row.split()[-3:] == [before, after, f"{held_out['targets']:,}"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert before in page and after in page and "<polyline" in page
    card = (out / "model" / "README.md").read_text(encoding="utf-8")
    assert "63 distinct notes" in card and "not provided" in card
    assert not any(text in shown for text in sentences(70) for shown in (report, page, card))


def test_a_base_without_lm_head_gets_one_and_says_so(
    tiny: Tiny, lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare"
    AutoModel.from_pretrained(tiny("bert")).save_pretrained(bare)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bare / name).write_bytes((tiny("bert") / name).read_bytes())
    words = ("--data.train", lines, "--block", 64, "--held_out", 0.1, "--fit.max_steps", 2)
    assert clinnlp("pretrain", "--base", bare, *words, *FAST, "--out", tmp_path / "out") == 0
    assert "warning: the base has no language-model head: it gets a fresh one (" in capsys.readouterr().err
    _, info = AutoModelForMaskedLM.from_pretrained(tmp_path / "out" / "model", output_loading_info=True)
    assert not info["missing_keys"]


def test_an_architecture_that_cannot_pack_trains_unpacked(
    tiny: Tiny, lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--data.train", lines, "--block", 64, "--held_out", 0.1, "--fit.max_steps", 2)
    assert clinnlp("pretrain", "--base", tiny("deberta_v2"), *words, *FAST, "--out", tmp_path / "out") == 0
    assert "warning: this architecture cannot keep packed notes apart: one piece of a note per row" in (
        capsys.readouterr().err
    )
    assert pretraining(tmp_path / "out")["packed"] is False


def test_from_random_weights_to_a_base_that_finetune_takes(
    lines: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clinnlp.models import verify

    monkeypatch.setattr(verify, "verify_folder", lambda folder, trained: 0.0)  # test_finetune.py runs it
    out = tmp_path / "out"
    shape = ("--scratch.layers", 1, "--scratch.hidden", 32, "--scratch.heads", 2, "--scratch.intermediate", 64)
    size = ("--scratch.vocabulary", 120, "--scratch.positions", 64, "--block", 64, "--store", "fp16")
    words = ("--data.train", lines, "--held_out", 0.1, "--fit.max_steps", 3)
    assert clinnlp("pretrain", *shape, *size, *words, *FAST, "--out", out) == 0
    assert read_json(out / "model" / "config.json")["vocab_size"] == 120
    before = pretraining(out)["held_out"]["notes"]["perplexity_before"]
    assert before == pytest.approx(120, rel=0.15), "random weights guess evenly"
    words = ("--data.train", corpus / "train.jsonl", "--fit.max_steps", 1, "--out", tmp_path / "tuned")
    assert clinnlp("finetune", "--base", out / "model", *words, *FAST) == 0


def test_two_corpora_in_two_formats(tiny: Tiny, lines: Path, tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text("id,note\n" + "".join(f"{n},{n} cough\n" for n in range(20)), encoding="utf-8")
    path = tmp_path / "c.yaml"
    path.write_text(
        f"base: {tiny('bert')}\nroot: {tmp_path}\nblock: 64\nheld_out: 0.1\n"
        f"corpora:\n  - {{notes: more.csv, format: csv, text_field: note}}\n  - {{notes: {lines}}}\n"
    )
    assert clinnlp("pretrain", path, "--fit.max_steps", 1, *FAST, "--out", tmp_path / "out") == 0
    manifest = read_json(tmp_path / "out" / "manifest.json")
    assert manifest["facts"]["notes"]["notes"] == 100
    assert set(manifest["data_sha256"]) == {"corpus 0", "corpus 1"}


def test_it_stops_when_the_held_out_loss_stops_falling(tiny: Tiny, lines: Path, tmp_path: Path) -> None:
    words = ("--data.train", lines, "--block", 64, "--held_out", 0.1, "--fit.max_steps", 40, "--fit.min_steps", 40)
    stops = ("--fit.evaluations", 10, "--fit.patience", 1, "--fit.min_gain", 100)
    out = tmp_path / "out"
    assert clinnlp("pretrain", "--base", tiny("bert"), *words, *stops, *FAST, "--out", out) == 0
    facts = pretraining(out)
    assert facts["steps"] == 8, "the first score has nothing before it, the second gains too little"
    scores = [row["score"] for row in facts["history"] if "score" in row]
    assert max(scores) == pytest.approx(-facts["held_out"]["notes"]["loss_after"], abs=1e-6)


def annotated(path: Path) -> Path:
    """Notes of two classes whose first words are problems."""
    records = [
        {
            "id": str(n), "text": f"{'Fever' if n % 2 else 'Cough'} today. {text}", "labels": ["ab"[n % 2]],
            "spans": [{"start": 0, "end": 5, "label": "PROBLEM"}],
        }
        for n, text in enumerate(sentences(60))
    ]  # fmt: skip
    return write_jsonl(path, records)


@pytest.mark.parametrize("name", [name for name in plugins.names("objectives") if name != "mlm"])
def test_every_objective_from_the_command_line(name: str, tiny: Tiny, tmp_path: Path) -> None:
    words = ("--data.train", annotated(tmp_path / "n.jsonl"), "--block", 64, "--held_out", 0.1, "--fit.max_steps", 4)
    out = tmp_path / "out"
    assert clinnlp("pretrain", "--base", tiny("bert"), "--objective", name, *words, *FAST, "--out", out) == 0
    held = pretraining(out)["held_out"]
    assert set(held) == {"notes", "entities", name}, "what a masked LM knows is measured whatever is trained"
    assert 0 <= held["entities"]["accuracy_before"] <= 1 and held["entities"]["targets"] > 5
    assert all(math.isfinite(value) for row in held.values() for value in row.values())
    report = (out / "report.txt").read_text(encoding="utf-8")
    assert "held-out notes, entity tokens guessed right" in report
    assert f"held-out notes, loss of {name} " in report and f"objective: {name}\n" in report
    _, info = AutoModelForMaskedLM.from_pretrained(out / "model", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]


def test_a_base_without_lm_head_stays_an_encoder_where_no_token_is_guessed(
    tiny: Tiny, lines: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    AutoModel.from_pretrained(tiny("bert")).save_pretrained(bare)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bare / name).write_bytes((tiny("bert") / name).read_bytes())
    words = ("--data.train", lines, "--block", 64, "--held_out", 0.1, "--fit.max_steps", 2, "--objective", "simcse")
    assert clinnlp("pretrain", "--base", bare, *words, *FAST, "--out", tmp_path / "out") == 0
    assert set(pretraining(tmp_path / "out")["held_out"]) == {"simcse"}
    _, info = AutoModel.from_pretrained(tmp_path / "out" / "model", output_loading_info=True)
    assert all(name.startswith("pooler.") for name in info["missing_keys"]) and not info["unexpected_keys"]
    assert "feature-extraction" in (tmp_path / "out" / "model" / "README.md").read_text(encoding="utf-8")


def test_several_objectives_and_source_text(tiny: Tiny, lines: Path, tmp_path: Path) -> None:
    texts = (" ".join(reversed(text.split())) for text in sentences(200))
    source = write_jsonl(tmp_path / "s.jsonl", [{"id": str(n), "text": text} for n, text in enumerate(texts)])
    (tmp_path / "p.yaml").write_text(
        f"base: {tiny('bert')}\ndata: {{train: {lines}}}\nblock: 64\nheld_out: 0.1\n"
        "fit: {max_steps: 4, batch: 8, device: cpu}\n"
        "more:\n  - {objective: sentence_order, weight: 0.5}\n  - {objective: simcse, temperature: 0.1}\n"
        f"replay: {{notes: {source}, share: 0.25}}\n"
    )
    out = tmp_path / "out"
    assert clinnlp("pretrain", tmp_path / "p.yaml", "--out", out) == 0
    assert set(pretraining(out)["held_out"]) == {"notes", "source", "sentence_order", "simcse"}
    counts = read_json(out / "manifest.json")["facts"]["notes"]
    assert counts["source held_out"] == 20 and counts["replayed"] + counts["source unread"] == 180
    assert counts["replayed"] / (counts["train"] + counts["replayed"]) == pytest.approx(0.25, abs=0.08)
    report = (out / "report.txt").read_text(encoding="utf-8")
    assert "objective: mlm + 0.5 sentence_order + 1 simcse" in report
    assert "held-out source text, masked-LM perplexity" in report
    shift = pretraining(out)["shift"]
    assert shift["notes"]["source"] == 20 and shift["words"]["auc"] is not None
    assert "How far source and target are told apart" in report
    assert "From source text to notes: Vocabulary" in (out / "report.html").read_text(encoding="utf-8")


def test_objectives_that_compare_rows_need_two(
    tiny: Tiny, lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--data.train", lines, "--objective", "simcse", "--fit.batch", 1)
    assert clinnlp("pretrain", "--base", tiny("bert"), *words, "--out", tmp_path / "out") == 2
    assert "fit.batch: an objective compares the rows of a batch. Next: give 2 or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("supcon", "the notes have 0 classes"),
        ("supervised", "the notes have 0 labels"),
        ("entity_mlm", "no annotated spans"),
    ],
)
def test_notes_that_lack_what_an_objective_needs(
    name: str, told: str, tiny: Tiny, lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--data.train", lines, "--objective", name, "--held_out", 0.1)
    assert clinnlp("pretrain", "--base", tiny("bert"), *words, "--out", tmp_path / "out") == 2
    told_now = capsys.readouterr().err
    assert told in told_now and "Next:" in told_now and "Traceback" not in told_now


@pytest.mark.parametrize("objective", ["mlm", "sentence_order"])
def test_adapters_alone_are_trained_and_saved_beside_the_model(objective: str, tiny: Tiny, tmp_path: Path) -> None:
    from peft import PeftModel

    words = ("--data.train", annotated(tmp_path / "n.jsonl"), "--block", 64, "--held_out", 0.1, "--fit.max_steps", 4)
    how = ("--objective", objective, "--strategy", "lora", "--strategy.rank", 4, "--fit.learning_rate", 1e-2)
    out = tmp_path / "out"
    assert clinnlp("pretrain", "--base", tiny("bert"), *how, *words, *FAST, "--out", out) == 0
    base = AutoModelForMaskedLM.from_pretrained(tiny("bert")).eval()
    trained, info = AutoModelForMaskedLM.from_pretrained(out / "model", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    before, after = base.state_dict(), trained.eval().state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(".encoder.layer." in name and name.endswith("weight") for name in moved)
    adapted = PeftModel.from_pretrained(base, out / "adapter").eval()
    ids = torch.arange(5, 25)[None]
    with torch.inference_mode():
        assert torch.allclose(adapted(input_ids=ids).logits, trained(input_ids=ids).logits, atol=1e-4)
    assert (out / "adapter" / "adapter_model.safetensors").stat().st_size < 100_000


def test_adapters_need_a_trained_head(
    tiny: Tiny, lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--data.train", lines, "--block", 64, "--held_out", 0.1, "--strategy")
    assert clinnlp("pretrain", *words, "lora", *FAST, "--out", tmp_path / "out") == 2
    assert "adapters need a masked-LM head that is trained already" in capsys.readouterr().err
    assert clinnlp("pretrain", "--base", tiny("bert"), *words, "bitfit", "--out", tmp_path / "out") == 2
    assert "strategy: pretrain moves all weights or adapters. Next: choose full or lora" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("texts", "group", "told"),
    [
        (["fever"], None, "1 distinct notes of one patient (group), repeats left out: none can be held out"),
        (["fever"] * 30, None, "1 distinct notes of one patient (group), repeats left out: none can be held out"),
        (
            ["fever", "cough", "pain"],
            "p",
            "3 distinct notes of one patient (group), repeats left out: none can be held out",
        ),
        (["___ " * n for n in range(1, 30)], None, "the notes hold nothing but placeholders of de-identification"),
    ],
)
def test_too_little_to_learn_from(
    texts: list[str], group: str | None, told: str, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [{"id": str(n), "text": text, "group": group or str(n)} for n, text in enumerate(texts)]
    words = ("--data.train", write_jsonl(tmp_path / "n.jsonl", records), "--out", tmp_path / "out")
    assert clinnlp("pretrain", "--base", tiny("bert"), *words, *FAST) == 2
    assert f"{told}. Kept: nothing was written. Next: give notes" in capsys.readouterr().err


def test_two_notes_are_one_to_train_on_and_one_held_out(tiny: Tiny, tmp_path: Path) -> None:
    records = [{"id": str(n), "text": text} for n, text in enumerate(sentences(2))]
    words = ("--data.train", write_jsonl(tmp_path / "n.jsonl", records), "--fit.max_steps", 1)
    assert clinnlp("pretrain", "--base", tiny("bert"), *words, *FAST, "--out", tmp_path / "out") == 0
    counts = read_json(tmp_path / "out" / "manifest.json")["facts"]["notes"]
    assert (counts["train"], counts["held_out"]) == (1, 1)


@pytest.mark.parametrize("kind", ["entity types", "note labels"])
def test_a_labeled_set_is_probed_before_and_after(kind: str, tiny: Tiny, lines: Path, tmp_path: Path) -> None:
    path = annotated(tmp_path / "n.jsonl")
    if kind == "note labels":
        path.write_text(re.sub(r', "spans": .*?\]', "", path.read_text(encoding="utf-8")), encoding="utf-8")
    words = ("--data.train", lines, "--probe.notes", path, "--block", 32, "--held_out", 0.1, "--fit.max_steps", 2)
    out = tmp_path / "out"
    assert clinnlp("pretrain", "--base", tiny("bert"), *words, *FAST, "--out", out) == 0
    probe = pretraining(out)["held_out"]["probe"]
    assert probe["what"] == f"macro F1 of {kind} from frozen features"
    assert probe["targets"] == (120 if kind == "entity types" else 60)
    least = 0.9 if kind == "entity types" else 0.5  # the first word tells, and the mean over a note dilutes it
    assert probe["score_before"] > least and probe["score_after"] > least
    assert f"labeled notes, macro F1 of {kind} from frozen features" in (out / "report.txt").read_text(encoding="utf-8")


def test_a_labeled_set_that_is_too_small(
    tiny: Tiny, lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--data.train", lines, "--block", 32, "--held_out", 0.1, *FAST, "--out", tmp_path / "out")
    few = write_jsonl(tmp_path / "few.jsonl", [{"id": "1", "text": "fever", "labels": ["a"]}, {"id": "2", "text": "x"}])
    assert clinnlp("pretrain", "--base", tiny("bert"), *words, "--probe.notes", few) == 2
    assert "the labeled notes have nothing to tell apart" in capsys.readouterr().err
    few = write_jsonl(tmp_path / "few.jsonl", [{"id": n, "text": f"fever {n}", "labels": [n]} for n in "ab"])
    assert clinnlp("pretrain", "--base", tiny("bert"), *words, "--probe.notes", few) == 2
    assert "two classes of 10 examples or more" in capsys.readouterr().err


def test_numbers_of_an_axis_stand_where_they_say() -> None:
    assert _axis("step", 1, 6, 0).ticks == ((1, "1"), (2, "2"), (4, "4"), (5, "5"), (6, "6"))
    assert _axis("step", 1, 2, 0).ticks == ((1, "1"), (2, "2"))
    assert [name for _, name in _axis("loss", 4.2481, 4.6626, 2).ticks] == ["4.25", "4.35", "4.46", "4.56", "4.66"]


def test_an_objective_given_twice_is_refused(
    tiny: Tiny, lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(f"base: {tiny('bert')}\ndata: {{train: {lines}}}\nmore:\n  - {{objective: mlm, rate: 0.2}}\n")
    assert clinnlp("pretrain", path, "--out", tmp_path / "out") == 2
    assert "more: objective mlm is given twice. Next: give each objective once" in capsys.readouterr().err


def test_copied_forward_notes_are_left_out_or_kept(tiny: Tiny, tmp_path: Path) -> None:
    texts = [" ".join([text] * 3) for text in sentences(20)]
    copies = [f"{text} addendum" for text in texts[:6]]
    notes = write_jsonl(tmp_path / "n.jsonl", [{"id": str(n), "text": t} for n, t in enumerate([*texts, *copies])])
    words = ("--base", tiny("bert"), "--data.train", notes, "--block", 64, *FAST, "--fit.max_steps", 1)
    for value, found in ((0.8, 6), ("null", 0)):
        out = tmp_path / str(value)
        assert clinnlp("pretrain", *words, "--near_duplicates", value, "--out", out) == 0
        counts = read_json(out / "manifest.json")["facts"]["notes"]
        assert (counts["nearly repeated"], counts["train"] + counts["held_out"]) == (found, 26 - found)
        assert not [path for path in out.rglob("*") if path.is_file() and texts[0] in path.read_text("latin-1")]


def test_placeholders_are_filled(tiny: Tiny, tmp_path: Path) -> None:
    plain = (text.replace("___", "-").replace("[**Name**]", "-") for text in sentences(20))
    texts = [f"Dr. ___ saw [**Known lastname {n}**]: {text}, ___" for n, text in enumerate(plain)]
    records = [{"id": str(n), "text": text} for n, text in enumerate(texts)]
    notes = write_jsonl(tmp_path / "n.jsonl", records)
    words = ("--base", tiny("bert"), "--data.train", notes, "--block", 64, *FAST, "--fit.max_steps", 1)
    assert (
        clinnlp("pretrain", *words, "--surrogates", "--held_out", 0.5, "--held_out_notes", 3, "--out", tmp_path / "run")
        == 0
    )
    counts = read_json(tmp_path / "run" / "manifest.json")["facts"]["notes"]
    assert counts["placeholders unfilled"] == 20, "what the last one of each note stood for is not told"
    assert counts["held_out"] == 3


@pytest.mark.parametrize(
    "option", [["--fit.recompute"], ["--attention", "varlen"], pytest.param(["--compile"], marks=pytest.mark.slow)]
)
def test_ways_to_compute_come_to_the_same_weights(option: list[str], tiny: Tiny, lines: Path, tmp_path: Path) -> None:
    words = ("--base", tiny("bert"), "--data.train", lines, "--block", 64, *FAST, "--fit.max_steps", 3, "--dropout", 0)
    for name, more in (("plain", ()), ("other", option)):
        assert clinnlp("pretrain", *words, *more, "--out", tmp_path / name) == 0
    plain, other = (
        AutoModelForMaskedLM.from_pretrained(tmp_path / n / "model").state_dict() for n in ("plain", "other")
    )
    assert all(torch.allclose(weight, other[name], atol=1e-5) for name, weight in plain.items())


def test_layers_that_are_computed_once_are_not_computed_again(
    tiny: Tiny, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--data.train", corpus / "train.jsonl", *FAST, "--strategy", "top_layers", "--strategy.layers", 1)
    assert clinnlp("finetune", "--base", tiny("bert"), *words, "--fit.recompute", "--out", tmp_path / "run") == 2
    assert "fit.recompute: this model cannot compute its activations again" in capsys.readouterr().err


def test_one_option_of_the_loop_keeps_the_others(tiny: Tiny, lines: Path, tmp_path: Path) -> None:
    words = ("--base", tiny("bert"), "--data.train", lines, "--block", 64, "--fit.precision", "fp32")
    for name, more in (("one", ()), ("two", ("--fit.save_minutes", 5))):
        assert clinnlp("pretrain", *words, "--fit.max_steps", 1, *more, "--out", tmp_path / name) == 0
    one, two = (read_json(tmp_path / name / "manifest.json")["settings"]["fit"] for name in ("one", "two"))
    assert one["schedule"] == "wsd" and one["batch"] == 8 and two == one | {"save_minutes": 5}


@pytest.mark.parametrize(
    ("more", "status", "told"),
    [
        (("--block", 2), 2, "block: must be over 2, the special tokens of a row"),
        (("--seed", -1), 2, "seed: must be from 0 to 4294967295"),
        (("--fit.learning_rate", "nan"), 2, "fit.learning_rate: should be a finite number"),
        (("--fit.beta2", 1.5), 2, "fit.beta2: must be a share from 0 to under 1"),
        (("--fit.clip", -1), 2, "fit.clip: must be more than 0"),
        (("--data.dev", "nosuch"), 2, "data.dev: unknown key"),
        (("--fit.learning_rate", 100, "--fit.max_steps", 12), 7, "after training is not a number, or over 500"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    more: tuple[object, ...], status: int, told: str, tiny: Tiny, lines: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = ("--base", tiny("bert"), "--data.train", lines, "--fit.max_steps", 2, *FAST)
    assert clinnlp("pretrain", *words, *more, "--out", tmp_path / "out") == status
    assert told in capsys.readouterr().err


def test_a_loss_without_held_out_targets_stops_nothing(
    tiny: Tiny, lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = annotated(tmp_path / "spans.jsonl").read_text(encoding="utf-8").splitlines()[:2]
    train = tmp_path / "few.jsonl"
    train.write_text("\n".join(few) + "\n", encoding="utf-8")
    config = tmp_path / "run.yaml"
    config.write_text(f"objective: supervised\ncorpora: [{{notes: {lines}}}]\n", encoding="utf-8")
    words = ("--base", tiny("bert"), "--data.train", train, "--block", 32, "--held_out", 0.02, *FAST)
    words = (*words, "--fit.max_steps", 2)
    assert clinnlp("pretrain", config, *words, "--out", tmp_path / "run") == 0
    assert "not measured: what is held out has no targets of supervised" in capsys.readouterr().err
    held = read_json(tmp_path / "run" / "metrics.json")["pretraining"]["held_out"]
    assert "supervised" not in held
    stopped = clinnlp("pretrain", config, *words, "--fit.evaluations", 2, "--out", tmp_path / "other")
    told = capsys.readouterr().err
    if "notes" in held:  # masked tokens judge in its place
        assert stopped == 0 and "dev -" in told
    else:
        assert stopped == 2 and "fit.evaluations: the held-out notes have no targets of supervised to stop by" in told


def test_a_record_that_cannot_be_read_may_end_the_command(
    tiny: Tiny, lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(lines.read_text(encoding="utf-8") + "{no json\n", encoding="utf-8")
    words = ("--base", tiny("bert"), "--data.train", bad, "--block", 64, *FAST, "--fit.max_steps", 1)
    assert clinnlp("pretrain", *words, "--out", tmp_path / "aside") == 3
    assert clinnlp("pretrain", *words, "--data.bad_records", "refuse", "--out", tmp_path / "refused") == 2
    assert "set bad_records to quarantine" in capsys.readouterr().err
