"""Candidates ranked on labeled notes: measures, short fine-tunings, failures ranked last, a stopped run goes on."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clinnlp.core import run as run_module
from clinnlp.recipes import _candidates, select
from clinnlp.recipes._candidates import Candidate, reason_of, sample_of
from clinnlp.recipes._selecting import CRITERIA, Standing, agreement, rank_first, ranked
from clinnlp.recipes._units import Unit
from tests.recipes.command import FAST, clinnlp, notes, read_json, write_jsonl

FAST_LORA = (
    *("--strategy", "lora", "--strategy.head_learning_rate", 5e-2, "--fit.learning_rate", 1e-2, "--fit.epochs", 12),
    *("--task.window", 24, "--task.overlap", 8),
)


def test_ranks_have_ties_at_their_mean_and_what_is_missing_comes_last() -> None:
    assert ranked([0.5, 0.9, 0.5, None], more=True) == [2.5, 1.0, 2.5, 4.0]
    assert ranked([1.2, 1.1, None, None], more=False) == [2.0, 1.0, 3.5, 3.5]


def standing(name: str, reason: str | None = None, **measures: float) -> Standing:
    return Standing(Candidate(name), measures, reason=reason)


def test_the_first_ranking_is_the_mean_rank_of_the_criteria_that_count() -> None:
    """By hand: a has the ranks 1, 2, 1; b 2, 1, 2; the broken one none. Speed counts for nothing."""
    a = standing("a", logme=0.6, h_score=1.0, probe=0.8, tokens_per_second=1)
    b = standing("b", logme=0.5, h_score=2.0, probe=0.7, tokens_per_second=9)
    broken = standing("broken", reason="no model weights")
    rank_first([broken, a, b])
    assert (a.first, b.first, broken.first) == (pytest.approx(4 / 3), pytest.approx(5 / 3), None)
    assert sorted([broken, b, a], key=lambda one: one.order) == [a, b, broken]
    b.rounds = [0.1]
    assert sorted([broken, a, b], key=lambda one: one.order) == [b, a, broken], "fine-tuned before only measured"
    a.rounds = [0.3]
    assert sorted([broken, a, b], key=lambda one: one.order) == [a, b, broken]
    b.rounds = [0.1, 0.2]
    assert sorted([broken, a, b], key=lambda one: one.order) == [b, a, broken], "the further round decides"


def test_agreement_is_counted_from_worse_to_better() -> None:
    """By hand: of the three pairs of LogME and fertility two are ordered alike and one is not, so tau is 1/3."""
    three = [
        standing("a", logme=3.0, fertility=1.2, probe=0.5),
        standing("b", logme=2.0, fertility=1.1, probe=0.5),
        standing("c", logme=1.0, fertility=1.5, probe=0.5),
    ]
    found = agreement(three)
    assert found["fertility, logme"] == {"tau": pytest.approx(1 / 3), "candidates": 3}
    assert not any("probe" in pair for pair in found), "where all are equal there is no order"
    assert not agreement(three[:2]), "two candidates agree by chance half of the time"


def test_a_sample_is_whole_notes_until_it_has_the_words() -> None:
    from clinnlp.core.document import Document

    documents = [Document(str(n), "one two three four five") for n in range(20)]
    some = sample_of(documents, 12, 1)
    assert len(some) == 3 and [d.id for d in some] == sorted((d.id for d in some), key=int)
    assert sample_of(documents, 12, 1) == some != sample_of(documents, 12, 2)
    assert sample_of(documents, 10**6, 1) == documents


def test_a_hub_name_may_carry_its_revision() -> None:
    assert Candidate.of(f"org/model@{'a' * 40}", None) == Candidate("org/model", "a" * 40)
    assert Candidate.of("a@b/model", "c" * 40) == Candidate("a@b/model", "c" * 40)


def test_reasons_quote_no_other_library() -> None:
    assert (
        reason_of(MemoryError())
        == reason_of(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
        == ("out of memory")
    )
    assert reason_of(ValueError("patient Smith")) == "failed (ValueError)"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("--candidates", "one"),
            "candidates: a selection takes two candidates or more, got 1. Next: name another one",
        ),
        (("--candidates", "[a, a]"), "candidates: a candidate is named twice. Next: name each once"),
        (
            ("--candidates", "a,b", "--base", "c"),
            "base: the candidates are the bases. Next: leave it out",
        ),
        (("--candidates", "a,b", "--rounds", "-1"), "rounds: must be 0 or more"),
        (("--candidates", "a,b", "--word", "5"), "word: unknown key. Next: Did you mean 'words'?"),
    ],
)
def test_bad_settings_are_told(
    words: tuple[str, ...], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert clinnlp("select", *words, "--data.train", "x.jsonl", "--out", tmp_path / "run") == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def damaged(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders that cannot be loaded, by what is wrong with them."""
    made = {}
    for name in ("no weights", "unsafe", "other sizes"):
        made[name] = tmp_path_factory.mktemp("damaged") / "model"
        shutil.copytree(tiny("bert"), made[name])
    (made["no weights"] / "model.safetensors").unlink()
    (made["unsafe"] / "model.safetensors").rename(made["unsafe"] / "pytorch_model.bin")
    told = read_json(made["other sizes"] / "config.json") | {"hidden_size": 64}
    (made["other sizes"] / "config.json").write_text(json.dumps(told))
    return made


def data_of(corpus: Path) -> tuple[object, ...]:
    return ("--data.train", corpus / "train.jsonl", "--data.dev", corpus / "dev.jsonl")


def closed() -> None:
    for run in list(run_module._open):  # as the end of its process would
        run._lock.close()
        run_module._open.remove(run)


class Killed(BaseException):
    """The process is gone."""


def test_end_to_end_with_failures_and_kills(
    tiny: Callable[[str], Path], corpus: Path, damaged: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, good = tmp_path / "run", [tiny("bert"), tiny("roberta")]
    names = [str(path) for path in (damaged["no weights"], good[0], damaged["unsafe"], good[1], damaged["other sizes"])]
    words = ("select", "--candidates", json.dumps([*names, str(tmp_path / "nowhere")]), *data_of(corpus), *FAST,
             *FAST_LORA, "--seed", 1, "--out", out, "--data.test", tmp_path / "is not read.jsonl")  # fmt: skip
    measured, seen = select.measured, []

    def counted(candidate: Candidate, *rest: object) -> object:
        seen.append(candidate.name)
        if len(seen) == 4:
            raise Killed
        return measured(candidate, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(select, "measured", counted)
        clinnlp(*words)
    closed()
    first = {path: path.stat().st_mtime_ns for path in out.glob("candidate-*.json")}
    assert len(first) == 3, "three were measured before the kill in the fourth"
    unit, units = select._failure, []

    def broken_off(*given: object) -> object:
        units.append(given)
        if len(units) == 2:
            raise Killed
        return unit(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(select, "_failure", broken_off)
        clinnlp(*words)
    closed()
    assert {path: path.stat().st_mtime_ns for path in first} == first, "and not again"
    done = {path: path.stat().st_mtime_ns for path in out.glob("round-*/predictions.jsonl")}
    assert clinnlp(*words) == 0
    assert len(done) == 1 and {path: path.stat().st_mtime_ns for path in done} == done

    metrics = read_json(out / "metrics.json")
    table = {one["candidate"]: one for one in metrics["candidates"]}
    assert {one["candidate"] for one in metrics["candidates"][:2]} == {str(path) for path in good}
    assert table[str(damaged["no weights"])]["reason"] == "no model weights (*.safetensors)"
    assert table[str(tmp_path / "nowhere")]["reason"] == "no such model folder"
    assert "can run code when opened" in table[str(damaged["unsafe"])]["reason"]
    assert table[str(damaged["other sizes"])]["reason"] is not None
    for path in good:
        one = table[str(path)]
        assert all(one[name] is not None for name in CRITERIA if name != "peak_mb"), one
        assert len(one["fine_tuned"]) >= 1 and one["reason"] is None
        assert one["vectors"] > 300, "words of 40 notes"
    assert len(metrics["candidates"][0]["fine_tuned"]) == 1, "of two the better half is one: nothing is left to compare"
    rows = table[str(good[0])]["cuts"]
    assert rows["entities"]["words"] >= 80 and rows["all"]["words"] > rows["entities"]["words"]
    text = (out / "report.txt").read_text(encoding="utf-8")
    assert "no model weights (*.safetensors)" in text and "Test notes were not read." in text
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "What was measured" in page and "settings fingerprint" in page
    assert not list(out.glob("round-*/model")), "no model of a short fine-tuning is kept"
    assert clinnlp(*words) == 5, "it is finished"


def test_note_labels_and_out_of_memory(
    tiny: Callable[[str], Path],
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, measured = tmp_path / "run", _candidates._measured

    def lacking(base: object, ground: object) -> object:
        if base.name == str(tiny("electra")):  # type: ignore[attr-defined]
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return measured(base, ground)  # type: ignore[arg-type]

    monkeypatch.setattr(_candidates, "_measured", lacking)
    names = ",".join(str(tiny(kind)) for kind in ("electra", "bert", "modernbert"))
    task = ("--task", "note_classification", "--data.labels_field", "note_type", "--rounds", 0)
    given = ("--data.test", corpus / "test.jsonl", "--data.label_map.of_test_alone", "plan")
    assert clinnlp("select", "--candidates", names, *data_of(corpus), *task, *given, *FAST, "--out", out) == 0
    told = capsys.readouterr().err
    assert "data.label_map.of_test_alone: no note that is read holds this label" in told, "test notes are not read"
    metrics = read_json(out / "metrics.json")
    last = metrics["candidates"][-1]
    assert (last["candidate"], last["reason"], last["rank"]) == (str(tiny("electra")), "out of memory", 3)
    for one in metrics["candidates"][:2]:
        assert one["vectors"] == 40 and one["probe_examples"] == 40, "one vector a note"
        assert one["fine_tuned"] == [] and one["mean_rank"] is not None


@pytest.mark.parametrize("place", ["measures", "fine-tuning"])
def test_a_full_disk_is_not_held_against_a_candidate(
    place: str,
    tiny: Callable[[str], Path],
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It would be ranked last, and that kept, though nothing is wrong with it."""
    out, measures = tmp_path / "run", dict.fromkeys(CRITERIA, 1.0)

    def full(*_: object, **__: object) -> object:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    monkeypatch.setattr(_candidates, "_measured", full if place == "measures" else lambda *_: dict(measures))
    monkeypatch.setattr(Unit, "finish", full)
    names = ",".join(str(tiny(kind)) for kind in ("bert", "modernbert"))
    assert clinnlp("select", "--candidates", names, *data_of(corpus), *FAST, *FAST_LORA, "--out", out) == 6
    assert "error[CLN-S6] cannot write: No space left on device. Kept: " in capsys.readouterr().err
    assert not (out / "metrics.json").exists()
    assert len(list(out.glob("candidate-*.json"))) == (0 if place == "measures" else 2)


def test_nothing_that_loads_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = write_jsonl(tmp_path / "train.jsonl", notes(6, "train"))
    words = ("--candidates", "a/b,c/d", "--data.train", train, "--rounds", 0, "--out", tmp_path / "run")
    assert clinnlp("select", *words) == 2
    told = capsys.readouterr().err
    assert "a/b: none of the 2 candidates could be measured; the first: base 'a/b' is a hub name" in told


def test_no_dev_notes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = write_jsonl(tmp_path / "train.jsonl", notes(6, "train"))
    assert clinnlp("select", "--candidates", "a/b,c/d", "--data.train", train, "--out", tmp_path / "run") == 2
    told = capsys.readouterr().err
    assert "data.dev: there are no dev notes to score fine-tunings on." in told and "or --rounds 0" in told
