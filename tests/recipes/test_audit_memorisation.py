"""`clinnlp audit memorisation` and `audit canaries`: what was learned by heart is found, and nothing is told of it."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clinnlp.errors import PrivacyError
from clinnlp.recipes._audit_memorisation import with_section
from clinnlp.recipes.audit_memorisation import check_gate
from clinnlp.text.canaries import draw_secrets, planted, secret_of, sentence
from clinnlp.text.duplicates import jaccard
from tests.recipes.command import FAST, clinnlp, read_json, write_jsonl
from tests.tiny import TEXT

Tiny = Callable[[str], Path]
Words = tuple[object, ...]
TRAIN = (*FAST, "--block", 64, "--fit.epochs", 1000, "--fit.evaluations", 1, "--fit.learning_rate", 1e-2)
SHAPE = ("--scratch.layers", 2, "--scratch.hidden", 64, "--scratch.heads", 2, "--scratch.intermediate", 128)


def made(name: str, count: int) -> list[dict[str, Any]]:
    """Notes of random words, two for each patient."""
    draw = random.Random(name)
    words = TEXT.split()
    return [
        {"id": f"{name}-{n}", "text": " ".join(draw.choices(words, k=24)), "group": f"{name}-p{n // 2}"}
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Words:
    folder = tmp_path_factory.mktemp("sides")
    train = write_jsonl(folder / "train.jsonl", made("train", 20))
    return ("--train", train, "--heldout", write_jsonl(folder / "heldout.jsonl", made("heldout", 20)))


@pytest.fixture(scope="module")
def learned(tiny: Tiny, sides: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that read 18 of the 20 train notes two hundred times."""
    out = tmp_path_factory.mktemp("learned") / "run"
    words = ("--data.train", sides[1], "--held_out", 0.1, "--fit.max_steps", 250)
    assert clinnlp("pretrain", "--base", tiny("bert"), *words, *TRAIN, "--out", out) == 0
    return out / "model"


def audited(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(out / "metrics.json")["memorisation"]
    return found


def test_a_model_that_learned_its_notes_is_found_out(
    tiny: Tiny, learned: Path, sides: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    before = {path.name: path.read_bytes() for path in learned.iterdir()}
    assert clinnlp("audit", "memorisation", learned, *sides, "--reference", tiny("bert"), "--out", out) == 0
    facts = audited(out)
    for unit, members in (("note", 20), ("group", 10)):
        for how in ("loss", "ratio"):
            made = facts["attacks"][unit][how]
            assert made["members"] == members and made["auc"] > 0.9 and made["auc_interval"]["low"] > 0.7
            assert made["tpr"] > 0.5 and made["auc_interval"]["unit"] == "group"
        control = facts["attacks"][unit]["reference"]["auc_interval"]
        assert control["low"] < 0.5 < control["high"], "the base has read neither"
    assert facts["loss"]["model"]["train"] < facts["loss"]["reference"]["train"] - 1
    report = (out / "report.txt").read_text(encoding="utf-8")
    assert report in capsys.readouterr().out
    assert "- TRAINED NOTES CAN BE TOLD by ratio to the reference (note level): AUC 0.9" in report
    assert "- 20 held-out notes only: a rate of 1 % then allows no false alarm" in report
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Membership inference" in page and "reference alone (control)" in page and "<script" not in page
    assert {path.name: path.read_bytes() for path in learned.iterdir()} == before, "the model folder is as it was"
    manifest = read_json(out / "manifest.json")
    assert (manifest["verb"], manifest["status"]) == ("audit memorisation", "done")
    assert manifest["weights_sha256"].keys() == {"model", "reference"}


def test_the_gate_of_a_release(learned: Path, sides: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("audit", "memorisation", learned, *sides, "--draws", 1, "--gate")
    assert clinnlp(*words, "--out", tmp_path / "out") == 9
    told = capsys.readouterr().err
    assert "gate: the model gives away which notes it was trained on: loss by note: AUC 0.9" in told
    assert "found at 1 %" not in told.partition("error[")[2], "20 held-out notes are too few for that rate"
    assert (tmp_path / "out" / "report.txt").is_file(), "the report is kept"
    assert clinnlp(*words, "--max_auc", 1, "--out", tmp_path / "other") == 0


def test_what_the_gate_judges() -> None:
    fine, sharp = {"auc": 0.6, "tpr": 0.9, "others": 99}, {"auc": 0.5, "tpr": 0.031, "others": 100}
    check_gate({"note": {"loss": fine, "reference": {"auc": 1.0, "tpr": 1.0, "others": 999}}}, 0.6, 0.03, Path("x"))
    with pytest.raises(PrivacyError, match=r"ratio by group: 3\.1% found at 1 % false alarms, over 3\.0%"):
        check_gate({"group": {"ratio": sharp}}, 0.6, 0.03, Path("x"))


def test_a_model_that_never_read_the_notes_tells_nothing(tiny: Tiny, sides: Words, tmp_path: Path) -> None:
    assert clinnlp("audit", "memorisation", tiny("bert"), *sides, "--out", tmp_path / "out") == 0
    for attacks in audited(tmp_path / "out")["attacks"].values():
        interval = attacks["loss"]["auc_interval"]
        assert attacks.keys() == {"loss"} and interval["low"] < 0.5 < interval["high"]
    report = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert "- trained notes are not told from others by loss (note level): AUC 0." in report and "CAN BE" not in report


def test_the_same_figures_at_every_run(learned: Path, sides: Words, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert clinnlp("audit", "memorisation", learned, *sides, "--draws", 2, "--out", tmp_path / name) == 0
    assert audited(tmp_path / "one") == audited(tmp_path / "two")


def test_no_text_id_or_patient_is_told(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words: list[object] = []
    for name in ("train", "heldout"):
        notes = made(name, 12)
        for note in notes:
            note |= {
                "id": f"Qvortrup-{note['id']}",
                "text": f"Qvortrup {note['text']}",
                "group": f"Qvortrup{note['id']}",
            }
        words += [f"--{name}", write_jsonl(tmp_path / f"{name}.jsonl", [{"text": None, "id": "Qvortrup"}, *notes])]
    assert clinnlp("audit", "memorisation", tiny("bert"), *words, "--out", tmp_path / "out") == 3, "two unreadable"
    files = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "out").iterdir()}
    assert files.keys() >= {"report.txt", "report.html", "metrics.json", "model_card.md", "quarantine.jsonl"}
    assert not any("Qvortrup" in text for text in (*files.values(), *capsys.readouterr()))


def test_canaries_planted_often_are_exposed_and_others_are_not(sides: Words, tmp_path: Path) -> None:
    assert clinnlp("audit", "canaries", "--each", 4, "--repeats", "1,16", "--out", tmp_path / "canaries") == 0
    path = tmp_path / "canaries" / "canaries.jsonl"
    config = tmp_path / "c.yaml"
    config.write_text(f"corpora:\n  - {{notes: {sides[1]}}}\n  - {{notes: {path}}}\n", encoding="utf-8")
    size = ("--scratch.vocabulary", 600, "--scratch.positions", 64, "--held_out", 0.05, "--fit.max_steps", 300)
    rate = ("--fit.learning_rate", 3e-3)
    assert clinnlp("pretrain", config, *SHAPE, *size, *TRAIN, *rate, "--out", tmp_path / "run") == 0
    words = ("--canaries", path, "--candidates", 255, "--out", tmp_path / "out")
    assert clinnlp("audit", "memorisation", tmp_path / "run" / "model", *sides, *words) == 0
    canaries = audited(tmp_path / "out")["canaries"]
    never, once, often = canaries["exposure"]["likelihood"]
    assert [level["repeats"] for level in (never, once, often)] == [0, 1, 16]
    assert [level["canaries"] for level in (never, once, often)] == [50, 4, 4]
    assert never["bits"] < 2.5 and never["first"] <= 2, "chance gives 1.44"
    assert often["bits"] > 7 and often["bits"] > once["bits"] and often["interval"]["low"] > never["interval"]["high"]
    assert canaries["most_bits"] == 8
    report = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert "- secrets planted 16 times: exposure " in report and "A secret that is not known has 1.44 bits" in report
    told = "".join(file.read_text(encoding="utf-8") for file in (tmp_path / "out").iterdir())
    assert not any(secret_of(line["text"]) in told for line in _lines(path))


def test_secrets_that_were_not_trained_on_have_the_exposure_of_chance(
    tiny: Tiny, learned: Path, sides: Words, tmp_path: Path
) -> None:
    assert clinnlp("audit", "canaries", "--each", 30, "--repeats", "1", "--out", tmp_path / "canaries") == 0
    words = ("--canaries", tmp_path / "canaries" / "canaries.jsonl", "--candidates", 127, "--reference", tiny("bert"))
    assert clinnlp("audit", "memorisation", learned, *sides, *words, "--draws", 1, "--out", tmp_path / "out") == 0
    exposure = audited(tmp_path / "out")["canaries"]["exposure"]
    assert exposure.keys() == {"likelihood", "ratio"}
    for never, once in exposure.values():
        assert never["bits"] < 2.5 and once["bits"] < 2.5 and once["canaries"] == 30, "chance gives 1.44 of 7"
    report = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert f"- secrets planted once: exposure {exposure['likelihood'][1]['bits']:.2f} (" in report
    assert "exposure in bits  beside the reference  first of all\n" in report


@pytest.mark.parametrize("kind", ["roberta", "electra", "deberta_v2", "modernbert"])
def test_every_architecture_can_be_asked(kind: str, tiny: Tiny, sides: Words, tmp_path: Path) -> None:
    assert clinnlp("audit", "canaries", "--each", 2, "--repeats", "1", "--out", tmp_path / "canaries") == 0
    words = ("--canaries", tmp_path / "canaries" / "canaries.jsonl", "--candidates", 15, "--draws", 2, "--block", 48)
    assert clinnlp("audit", "memorisation", tiny(kind), *sides, *words, "--out", tmp_path / "out") == 0
    facts = audited(tmp_path / "out")
    assert 3 < facts["loss"]["model"]["train"] < 9, "random weights guess about evenly"
    assert 0 <= facts["canaries"]["exposure"]["likelihood"][0]["bits"] <= 4


def _lines(path: Path) -> list[dict[str, Any]]:
    import json

    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_planted_notes_hold_each_secret_as_often_as_asked_and_are_not_alike(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert clinnlp("audit", "canaries", "--each", 3, "--repeats", "2,5", "--out", tmp_path / name) == 0
    assert (tmp_path / "one" / "canaries.jsonl").read_bytes() == (tmp_path / "two" / "canaries.jsonl").read_bytes()
    texts = [line["text"] for line in _lines(tmp_path / "one" / "canaries.jsonl")]
    assert len(set(texts)) == 21
    copies = [text for text in texts if secret_of(text) == secret_of(texts[-1])]
    assert len(copies) == 5
    assert max(jaccard(copies[0], other) for other in copies[1:]) < 0.5, "no removal of near-duplicates takes them"
    (drawn,) = draw_secrets(1, "x")
    assert secret_of(sentence(drawn)) == drawn and draw_secrets(1, "x", {drawn}) != [drawn]
    assert planted([]) == {} and secret_of("The key is amber.") is None


def test_the_card_has_the_figures_and_replaces_that_of_the_folder_only_when_asked(
    learned: Path, sides: Words, tmp_path: Path
) -> None:
    import shutil

    from clinnlp.models.folder import weights_sha256

    model = tmp_path / "model"
    shutil.copytree(learned, model)
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    for name in ("one", "two"):
        assert clinnlp("audit", "memorisation", model, *sides, "--card", "true", "--out", tmp_path / name) == 0
    card = (model / "README.md").read_text(encoding="utf-8")
    assert card == (tmp_path / "two" / "model_card.md").read_text(encoding="utf-8")
    assert card.count("## Memorisation audit\n") == 1, "a second audit takes the place of the first"
    assert f"`{weights_sha256(model)}`" in card and "| loss | note | 20 | 20 | 0.9" in card
    assert "memorisation audit: not provided" not in card and "intended use: not provided" in card
    after = {path.name: path.read_bytes() for path in model.iterdir()}
    assert {name for name in after if after[name] != before.get(name)} == {"README.md"} and len(after) == len(before)


def test_sections_after_an_earlier_audit_stay() -> None:
    card = "# M\n\n- Licence, memorisation audit: not provided\n\n## Memorisation audit\n\nold\n\n## Use\n\nmore\n"
    expected = "# M\n\n- Licence: not provided\n\n## Use\n\nmore\n\n## Memorisation audit\n\nnew\n"
    assert with_section(card, "## Memorisation audit\n\nnew\n") == expected


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        (
            "text",
            4,
            "error[CLN-L4] heldout: notes with a text that train holds too: 2 of 20. Kept: nothing was written",
        ),
        ("group", 4, "error[CLN-L4] heldout: groups (patients) in both train and heldout: 1. Kept"),
        ("few", 2, "error[CLN-D2] heldout: 9 distinct notes with text, and at least 10 are needed. Kept"),
        ("head", 2, "no masked-LM head: "),
        ("vocabulary", 2, "error[CLN-C2] reference: its vocabulary (500 entries) is not that of the model ("),
        ("itself", 2, "error[CLN-C2] reference: has the weights of the model itself. Kept"),
        ("canaries", 2, "train.jsonl: no planted secrets. Kept: nothing was written. Next: give canaries.jsonl of"),
        ("block", 2, "error[CLN-C2] block: must be 8 or more."),
        ("card", 2, "error[CLN-C2] card: only the card of a local model folder can be replaced."),
    ],
)
def test_refusals(
    change: str, status: int, told: str, tiny: Tiny, sides: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held, model = made("heldout", 20), tiny("bert")
    train = made("train", 20)
    words: list[object] = []
    if change == "text":
        held[3]["text"], held[4]["text"] = train[0]["text"], train[1]["text"].upper()
    elif change == "group":
        held[3]["group"] = train[0]["group"]
    elif change == "few":
        held = [*held[:9], held[0], {"id": "e", "text": " "}]
    elif change == "head":
        from transformers import AutoModel

        model = tmp_path / "bare"
        AutoModel.from_pretrained(tiny("bert")).save_pretrained(model)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (model / name).write_bytes((tiny("bert") / name).read_bytes())
    elif change in ("vocabulary", "itself"):
        words = ["--reference", tiny("roberta" if change == "vocabulary" else "bert")]
    elif change == "canaries":
        words = ["--canaries", sides[1]]
    elif change == "block":
        words = ["--block", 1]
    else:
        words, model = ["--card", "true"], Path("clinnlp-mini")
    path = write_jsonl(tmp_path / "heldout.jsonl", held)
    given = ("--train", sides[1], "--heldout", path, *words, "--out", tmp_path / "out")
    assert clinnlp("audit", "memorisation", model, *given) == status
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--repeats 1,x", "error[CLN-C2] repeats: should be whole numbers with a comma between. Next: give 1,4,16."),
        ("--repeats 0", "error[CLN-C2] each and repeats: must be 1 or more."),
        ("--repeats 2,2", "error[CLN-C2] repeats: the same number twice."),
    ],
)
def test_refusals_of_canaries(words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert clinnlp("audit", "canaries", *words.split(), "--out", tmp_path / "out") == 2
    assert told in capsys.readouterr().err


def test_what_the_run_of_the_model_remembers_is_believed(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = [note | {"text": f"{note['text']} {note['text']}"} for note in made("read", 20)]
    path = write_jsonl(tmp_path / "read.jsonl", long)
    words = ("--data.train", path, "--held_out", 0.1, "--fit.max_steps", 1, "--out", tmp_path / "run")
    assert clinnlp("pretrain", "--base", tiny("bert"), *words, *TRAIN) == 0
    given = ("--train", write_jsonl(tmp_path / "t.jsonl", made("train", 20)), "--heldout", path)
    assert clinnlp("audit", "memorisation", tmp_path / "run" / "model", *given, "--out", tmp_path / "out") == 4
    told = "heldout: notes with a text of 200 or more characters that the model was pretrained on: 18 of 20."
    assert told in capsys.readouterr().err
    given = ("--train", path, "--heldout", write_jsonl(tmp_path / "h.jsonl", made("heldout", 20)))
    assert clinnlp("audit", "memorisation", tmp_path / "run" / "model", *given, "--out", tmp_path / "out") == 0
    counts = audited(tmp_path / "out")["notes"]
    assert (counts["train"], counts["not_trained_on"]) == (18, 2), "pretrain held two of them out"
    never = [note | {"text": f"{note['text']} {note['text']}"} for note in made("never", 20)]
    given = ("--train", write_jsonl(tmp_path / "n.jsonl", never), *given[2:])
    assert clinnlp("audit", "memorisation", tmp_path / "run" / "model", *given, "--out", tmp_path / "never") == 2
    told = "train: 0 distinct notes with text that the model was trained on, and at least 10 are needed."
    assert told in capsys.readouterr().err


def test_only_so_many_notes_are_looked_at_and_notes_without_patients_are_units(tiny: Tiny, tmp_path: Path) -> None:
    words: list[object] = []
    for name in ("train", "heldout"):
        notes = [{"id": note["id"], "text": note["text"]} for note in made(name, 30)]
        words += [f"--{name}", write_jsonl(tmp_path / f"{name}.jsonl", [*notes, notes[0]])]
    assert clinnlp("audit", "memorisation", tiny("bert"), *words, "--notes", 12, "--out", tmp_path / "out") == 0
    facts = audited(tmp_path / "out")
    assert facts["notes"] == {
        "train": 12, "heldout": 12, "not_drawn_train": 18, "not_drawn_heldout": 18,
        "empty": 0, "repeated": 2, "planted": 0, "not_trained_on": 0, "quarantined": 0,
    }  # fmt: skip
    assert facts["attacks"].keys() == {"note"} and facts["why_no_groups"] == "no note names its patient (group)"
    assert facts["attacks"]["note"]["loss"]["auc_interval"]["unit"] == "document"


def test_a_piece_of_a_long_note_counts_for_its_note(tiny: Tiny, tmp_path: Path) -> None:
    import numpy as np

    from clinnlp.core.document import Document
    from clinnlp.encode.tokens import NoteTokenizer
    from clinnlp.recipes.audit_memorisation import AuditMemorisation, _model
    from clinnlp.training.memorisation import masked_notes, note_losses

    tokenizer = NoteTokenizer.load(tiny("bert"))
    settings = AuditMemorisation(str(tiny("bert")), tmp_path, "t", "h", block=16, draws=3)
    model, size = _model(settings.model, tokenizer, settings)
    notes = [Document(str(n), note["text"]) for n, note in enumerate(made("x", 3))] + [Document("3", "___")]
    source = masked_notes(notes, tokenizer, size, settings.seed)
    losses, masked = note_losses(model, source, settings.draws, 4)
    assert len(source.lengths) > 8 and masked[3] == 0 and np.isnan(losses[3]), "a placeholder is never guessed"
    pieces = source.blocks.notes.tolist()
    assert all(masked[note] >= 3 * pieces.count(note) for note in range(3)), "one token of each piece at least"
    again, _ = note_losses(model, source, settings.draws, 64)
    assert losses[:3] == pytest.approx(again[:3], abs=1e-5), "rows beside a row change nothing"
