"""The guard: notes that would be scored and trained on are refused with exit 4, unless that is waived by name."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clinnlp.core.document import Document
from clinnlp.errors import ConfigError, LeakError
from clinnlp.recipes._data import DataSettings, load_splits
from clinnlp.recipes._history import OPENED, base_notices
from clinnlp.text.known_bases import KNOWN, MIMIC3, N2C2, PUBMED, UMLS, known_base
from tests.recipes.command import FAST, clinnlp, notes, read_json, write_jsonl

COPIED = " ".join(f"Line {number} of a note that was copied forward." for number in range(8))
REFUSED = "notes of test with a text of 200 or more characters that train holds too: 1"
NEXT = "remove the copies (`clinnlp audit` counts them), or --data.allow duplicates: the report then says so on top."


def with_copy(name: str) -> list[dict[str, object]]:
    """Notes of which the first has a text that the notes of other names hold too, in another patient."""
    made = notes(12, name)
    return [made[0] | {"text": f"{COPIED}\n" if name == "test" else COPIED, "spans": [], "labels": []}, *made[1:]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train", "dev", "test"):
        write_jsonl(tmp_path / f"{name}.jsonl", with_copy(name) if name != "dev" else notes(12, name))
    return tmp_path


def data(folder: Path, **given: object) -> DataSettings:
    return DataSettings(**{"train": f"{folder}/train.jsonl", "test": f"{folder}/test.jsonl", **given})  # type: ignore[arg-type]


def test_a_copied_note_is_refused(folder: Path) -> None:
    with pytest.raises(LeakError) as refused:
        load_splits(data(folder))
    assert str(refused.value) == f"data.test: {REFUSED}. Next: {NEXT}"
    assert (refused.value.code, refused.value.exit_status) == ("CLN-L4", 4)


def test_what_is_waived_by_name_is_told(folder: Path) -> None:
    assert load_splits(data(folder, allow="duplicates")).waived == [f"duplicates: {REFUSED}"]
    with pytest.raises(LeakError):
        load_splits(data(folder, allow="groups"))
    same = data(folder, dev=f"{folder}/train.jsonl", test=None, allow="groups, duplicates")
    assert load_splits(same).waived == [
        "groups: groups (patients) in both train and dev: 6",
        "duplicates: notes of dev with a text of 200 or more characters that train holds too: 1",
        "duplicates: notes of dev that are notes of train, id and text: 12",
    ]
    assert load_splits(data(folder, test=None, allow=("duplicates",))).waived == [], "allowed, but there was none"


def test_short_equal_texts_are_only_warned_about(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_jsonl(folder / "test.jsonl", [{"text": note["text"]} for note in notes(12, "train")])
    with caplog.at_level(logging.WARNING, logger="clinnlp"):
        assert load_splits(data(folder)).waived == []
    assert caplog.messages == ["notes of test with a text of under 200 characters that train holds too: 12"]


def test_a_split_that_is_half_of_another_is_refused_however_short_its_texts(folder: Path) -> None:
    write_jsonl(folder / "train.jsonl", ({"id": note["id"], "text": note["text"]} for note in notes(12, "train")))
    same = {"test": f"{folder}/train.jsonl"}
    told = "notes of test that are notes of train, id and text: 12"
    with pytest.raises(LeakError) as refused:
        load_splits(data(folder, **same))
    assert str(refused.value) == f"data.test: {told}. Next: {NEXT}"
    assert load_splits(data(folder, **same, allow="duplicates")).waived == [f"duplicates: {told}"]


def test_the_waiver_is_a_known_name() -> None:
    assert DataSettings(allow="").allow == () == DataSettings(allow=[]).allow  # type: ignore[arg-type]
    assert DataSettings(allow=" groups ,duplicates").allow == ("groups", "duplicates")
    with pytest.raises(ConfigError) as refused:
        DataSettings(allow="duplicates,patients")
    assert (
        str(refused.value)
        == "data.allow: 1 unknown names. Next: there are duplicates, groups, pretraining, transductive."
    )


def test_finetune_and_evaluate(tiny: Callable[[str], Path], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ("--data.train", folder / "train.jsonl", "--data.test", folder / "test.jsonl")
    words = ("finetune", "--base", tiny("bert"), *files, "--fit.max_steps", 1, *FAST, "--out", folder / "run")
    capsys.readouterr()  # the model was being built
    assert clinnlp(*words) == 4
    assert capsys.readouterr().err.strip() == (
        f"clinnlp: error[CLN-L4] data.test: {REFUSED}. Kept: nothing was written. Next: {NEXT}"
    )
    assert clinnlp(*words, "--data.allow", "duplicates") == 0
    assert next(iter(read_json(folder / "run" / "metrics.json").items())) == ("waived", [f"duplicates: {REFUSED}"])
    assert (folder / "run" / "report.txt").read_text(encoding="utf-8").startswith(f"waived: duplicates: {REFUSED}\n\n")
    assert read_json(folder / "run" / "manifest.json")["settings"]["data"]["allow"] == ["duplicates"]

    # evaluate knows the texts from the run folder, or from the train file
    told = "notes with a text of 200 or more characters that the model was trained on: 1 of 12"
    words = ("evaluate", "--model", folder / "run" / "model", "--data.test", folder / "test.jsonl")
    capsys.readouterr()
    assert clinnlp(*words, "--out", folder / "a") == 4
    assert capsys.readouterr().err.strip() == (
        f"clinnlp: error[CLN-L4] data.test: {told}. Kept: nothing was written. "
        "Next: score other notes, or --data.allow duplicates: the report then says so on top."
    )
    assert clinnlp(*words, "--data.allow", "duplicates", "--out", folder / "a") == 0
    assert (
        (folder / "a" / "report.txt")
        .read_text(encoding="utf-8")
        .startswith(f"waived: duplicates: {told}\nnote: opening 2")
    )
    assert clinnlp("evaluate", "--model", folder / "run" / "model", *files, "--out", folder / "b") == 4
    assert f"data.test: {REFUSED}. Kept:" in capsys.readouterr().err
    assert clinnlp(*words[:-1], folder / "dev.jsonl", "--out", folder / "c") == 0, "other notes are scored"


def test_only_hashes_of_texts_stay_and_not_in_the_model_folder(ner_run: Path) -> None:
    held = read_json(ner_run / "trained_texts.json")
    assert held["hashes"] == [], "all notes of this run are short"
    assert not (ner_run / "model" / "trained_texts.json").exists()


def test_a_model_that_was_moved_is_not_checked(ner_run: Path, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(ner_run / "model")
    words = ("--model", tmp_path / "model", "--data.test", corpus / "train.jsonl")
    assert clinnlp("evaluate", *words, "--out", tmp_path / "out") == 0


def test_test_notes_in_the_pretraining_corpus_are_refused(
    tiny: Callable[[str], Path], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = write_jsonl(
        folder / "corpus.jsonl",
        [{"text": text} for text in (COPIED, COPIED.upper(), f"{COPIED}\n")]
        + [*({"text": f"note {n}"} for n in range(9))],
    )
    given = ("--block", 32, "--held_out", 0.1, "--fit.max_steps", 1, "--data.train", corpus)
    assert clinnlp("pretrain", "--base", tiny("bert"), *given, *FAST, "--out", folder / "pre") == 0
    write_jsonl(folder / "train.jsonl", notes(12, "train"))
    files = ("--data.train", folder / "train.jsonl", "--data.test", folder / "test.jsonl")
    words = (
        "finetune",
        "--base",
        folder / "pre" / "model",
        *files,
        "--fit.max_steps",
        1,
        *FAST,
        "--out",
        folder / "run",
    )
    told = "notes with a text of 200 or more characters that the model was pretrained on: 1 of 12"
    capsys.readouterr()
    assert clinnlp(*words) == 4
    assert f"error[CLN-L4] data.test: {told}. Kept: nothing was written." in capsys.readouterr().err
    assert clinnlp(*words, "--data.allow", "duplicates") == 4, "another leak has another name"
    assert clinnlp(*words, "--data.allow", "pretraining") == 0
    assert (folder / "run" / "report.txt").read_text(encoding="utf-8").startswith(f"waived: pretraining: {told}\n")

    # the fine-tuned model remembers what its base has read
    words = ("evaluate", "--model", folder / "run" / "model", "--data.test", folder / "test.jsonl")
    assert clinnlp(*words, "--out", folder / "a") == 4
    assert clinnlp(*words, "--data.allow", "pretraining", "--out", folder / "a") == 0
    assert read_json(folder / "a" / "metrics.json")["waived"] == [f"pretraining: {told}"]


def test_a_second_opening_of_the_test_notes_is_recorded(ner_run: Path, corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(ner_run, run, ignore=shutil.ignore_patterns(OPENED))  # other tests score this model as well
    words = ("evaluate", "--model", run / "model", "--data.test", corpus / "test.jsonl")
    for number, before in ((2, "1 by finetune"), (3, "1 by finetune, 1 by evaluate")):
        assert clinnlp(*words, "--out", tmp_path / str(number)) == 0
        told = (
            f"opening {number} of these notes with this model (before: {before}): what was chosen after looking at "
            "their scores makes them too good"
        )
        assert told in read_json(tmp_path / str(number) / "metrics.json")["notices"]
        assert f"note: {told}\n" in (tmp_path / str(number) / "report.txt").read_text(encoding="utf-8")
    assert (run / OPENED).stat().st_mode & 0o777 == 0o600
    assert clinnlp(*words[:-1], corpus / "dev.jsonl", "--out", tmp_path / "dev") == 0
    assert not any("opening" in line for line in read_json(tmp_path / "dev" / "metrics.json").get("notices", []))


def test_a_base_that_has_read_a_collection_is_named(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    pre = tmp_path / "pre"
    shutil.copytree(tiny("bert"), pre / "model")
    (pre / "manifest.json").write_text('{"settings": {"base": "emilyalsentzer/Bio_ClinicalBERT"}}', encoding="utf-8")
    read = "the base model (bio_clinicalbert) was pretrained on PubMed, MIMIC-III notes"
    plain, marked = Document("1", "no marks"), Document("2", "seen by [**Doctor**]")
    assert base_notices(str(pre / "model"), [plain]) == [f"{read}: notes from there are not unseen"]
    assert base_notices(str(pre / "model"), [plain, marked]) == [
        f"{read}, and 1 of these notes bear the marks of such a collection: it has probably read them"
    ]
    assert base_notices(str(tiny("bert")), [marked]) == [] == base_notices("clinnlp-mini", [marked])


def test_known_bases_are_found_by_the_most_telling_name() -> None:
    assert all(part == part.lower() for part, _ in KNOWN)
    for name, collections in (
        ("microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract", (PUBMED,)),
        ("bionlp/bluebert_pubmed_mimic_uncased_L-12_H-768_A-12", (PUBMED, MIMIC3)),
        ("GanjinZero/UMLSBert_ENG", (PUBMED, UMLS)),
        ("models/biobert_pretrain_output_all_notes_150000", (PUBMED, MIMIC3)),
        ("nlpie/tiny-clinicalbert", (PUBMED, MIMIC3)),
        ("medicalai/ClinicalBERT", ("notes of 3 million patients of several hospitals",)),
        ("bvanaken/CORe-clinical-outcome-biobert-v1", (PUBMED, MIMIC3, "MTSamples", N2C2)),
        ("bert-base-uncased", None),
    ):
        found = known_base([name])
        assert (found.collections if found else None) == collections
    # a part of a name must not be hidden by a shorter one before it
    assert all(known_base([part]).name == part for part, _ in KNOWN)  # type: ignore[union-attr]
