"""Settings searched on dev: the space, trials that fail, kills, and test notes that stay unread."""

import csv
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clinnlp import config
from clinnlp.core import run as run_module
from clinnlp.errors import ConfigError, IntegrityError
from clinnlp.recipes import tune
from clinnlp.recipes._trials import Trial, Trials
from clinnlp.recipes._tuning import Choices, Range, own_values, read_space, with_values
from clinnlp.recipes.finetune import Finetune
from tests.recipes.command import FAST, clinnlp, notes, read_json, write_jsonl
from tests.recipes.test_resume import command_line

SPACE = '{"fit.learning_rate": {low: 1e-4, high: 2e-2, log: true}, "strategy.rank": [4, 8]}'
SMALL = (
    *("--strategy", "lora", "--strategy.head_learning_rate", 5e-2, "--fit.learning_rate", 1e-2, "--strategy.rank", 8),
    *("--fit.epochs", 4, "--fit.evaluations", 4, "--task.window", 24, "--task.overlap", 8, "--seed", 1),
)


def words_of(tiny: Callable[[str], Path], corpus: Path, *more: object) -> tuple[object, ...]:
    data = ("--data.train", corpus / "train.jsonl", "--data.dev", corpus / "dev.jsonl")
    return ("tune", "--base", tiny("bert"), *data, *FAST, *SMALL, "--space", SPACE, *more)


def settings(**given: Any) -> Finetune:
    raw = {"out": "run", "base": "b", "fit": {"learning_rate": 1e-3, "epochs": 20}, **given}
    return config.build(Finetune, raw)  # type: ignore[no-any-return]


def space_of(raw: dict[str, Any]) -> Any:
    return read_space(raw, settings())


def test_the_grammar_of_a_space() -> None:
    found = space_of({
        "fit.learning_rate": {"low": "1e-4", "high": "2e-3", "log": True},
        "strategy.rank": [8, 16, 64],
        "fit": {"epochs": {"low": 10, "high": 40, "step": 10}},
        "strategy": {"dropout": ["0.0", "5e-2"]},
    })  # fmt: skip
    assert found == {
        "fit.learning_rate": Range(1e-4, 2e-3, log=True),
        "strategy.rank": Choices((8, 16, 64)),
        "fit.epochs": Range(10, 40, step=10, whole=True),
        "strategy.dropout": Choices((0.0, 0.05)),
    }
    assert Range(10, 40, step=10, whole=True).holds(30) and not Range(10, 40, step=10, whole=True).holds(15)
    assert space_of({"strategy": ["lora", "full"]})["strategy"] == Choices(("lora", "full"))
    assert with_values(settings(), {"strategy": "full", "fit.epochs": 3}).fit.epochs == 3


def test_the_settings_own_values_come_first_if_they_lie_in_the_space() -> None:
    space = space_of(
        {"fit.learning_rate": [1e-3, 2e-3], "strategy.rank": {"low": 4, "high": 64}, "strategy": ["lora", "full"]}
    )
    assert own_values(settings(), space) == {"fit.learning_rate": 1e-3, "strategy.rank": 16, "strategy": "lora"}
    assert own_values(settings(fit={"learning_rate": 5e-3}), space) is None


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ("{}", "space: nothing to tune. Next: give a setting with its values: fit.learning_rate: {low"),
        ('{"fit.learning_rat": [1, 2]}', "space.fit.learning_rat: unknown key. Next: Did you mean 'learning_rate'?"),
        ('{"strategy.rnk": [1, 2]}', "space.strategy.rnk: unknown key. Next: Did you mean 'rank'?"),
        ('{"fit.epochs": {low: 5, high: 2}}', "space.fit.epochs: low must be under high"),
        ('{"fit.epochs": {low: -5, high: 2}}', "space.fit.epochs: must be more than 0"),
        ('{"fit.epochs": {low: 0, high: 2, log: true}}', "space.fit.epochs: log takes numbers over 0, and no step"),
        ('{"fit.epochs": {low: 1, high: 2, stp: 1}}', "space.fit.epochs.stp: unknown key. Next: Did you mean 'step'?"),
        ('{"fit.epochs": {low: a, high: 2}}', "space.fit.epochs.low: should be a valid number"),
        ('{"fit.epochs": {low: 1}}', "space.fit.epochs.high: this setting is required"),
        ('{"fit.epochs": [3]}', "space.fit.epochs: give two choices or more, or low and high"),
        ('{"fit.epochs": [3, 3]}', "space.fit.epochs: a choice is given twice"),
        ('{"fit.batch": [x, 3]}', "space.fit.batch: should be a valid integer"),
        ('{"fit.batch": [[1], 3]}', "space.fit.batch: a choice is a number, a word, true, false or null, not a list"),
        ('{"strategy": [lora, lorra]}', "space.strategy: "),
        ('{"data.dev_share": [0.1, 0.2]}', "space.data.dev_share: this setting is the same in all trials"),
        ('{"task": [ner, note_classification]}', "space.task: this setting is the same in all trials"),
        ('{"seed": [1, 2]}', "space.seed: this setting is the same in all trials"),
        ('{"download": [true, false]}', "space.download: this setting is the same in all trials"),
        ('{"privacy.epsilon": [1, 8]}', "space.privacy.epsilon: this setting is the same in all trials"),
    ],
)
def test_a_bad_space_is_told_before_anything_starts(
    space: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert clinnlp("tune", "--base", "b", "--data.train", "x.jsonl", "--space", space, "--out", tmp_path / "run") == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_bad_settings_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = write_jsonl(tmp_path / "train.jsonl", notes(6, "train"))
    for more, told in (
        (("--final", "true"), "final: there are no test notes. Next: --data.test PATH, or leave final out"),
        (("--final", "true", "--refit", "false"), "final: test notes are scored by the refitted model"),
        (("--trials", 0), "trials: must be 1 or more"),
        ((), "data.dev: there are no dev notes to score trials on"),
    ):
        words = ("--base", "b", "--data.train", train, "--space", SPACE, "--out", tmp_path / "run")
        assert clinnlp("tune", *words, *more) == 2
        assert told in capsys.readouterr().err


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"tuning needs Optuna, which is not installed.*clinnlp\[tune\]"):
        tune.library()


def test_a_file_that_holds_no_trials(tmp_path: Path) -> None:
    (tmp_path / "trials.sqlite3").write_bytes(b"not a database " * 100)
    with pytest.raises(IntegrityError, match="the trials cannot be read"):
        Trials.open(tmp_path / "trials.sqlite3", space_of({"strategy.rank": [4, 8]}), 1, 3, True)


def test_what_is_tried_depends_on_the_seed_and_the_trials_before_alone(tmp_path: Path) -> None:
    space = space_of({"fit.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "strategy.rank": [4, 8]})

    def tried(name: str, seed: int, reopen: bool) -> list[Any]:
        trials = Trials.open(tmp_path / name, space, seed, 6, True)
        while (trial := trials.next()) is not None:
            trial.done(trial.values["fit.learning_rate"])
            if reopen:
                trials = Trials.open(tmp_path / name, space, seed, 6, True)
        return [one.values for one in trials.tried()]

    assert tried("a", 1, False) == tried("b", 1, True) != tried("c", 2, False)


def test_the_median_prunes_and_evaluations_count_on_after_a_break(tmp_path: Path) -> None:
    """By hand: four trials with 0.5 at each evaluation; a fifth with 0.4 is under the median at its third."""
    from clinnlp.recipes._trials import Pruned

    trials = Trials.open(tmp_path / "t", space_of({"strategy.rank": [4, 8]}), 1, 6, True)
    for _ in range(4):
        trial = trials.next()
        assert trial is not None
        for _ in range(4):
            trial.on_score(0.5)
        trial.done(0.5)
    fifth = trials.next()
    assert fifth is not None
    fifth.on_score(0.4)
    fifth.on_score(0.4)
    again = Trials.open(tmp_path / "t", trials.space, 1, 6, True)
    assert again.begin(None) == 1
    taken_up = again.next()
    assert taken_up is not None and (taken_up.number, taken_up.values) == (5, fifth.values)
    taken_up.evaluations = 1  # its last checkpoint was between the two
    taken_up.on_score(0.4)
    with pytest.raises(Pruned, match="under the median of the trials before it at dev evaluation 3"):
        taken_up.on_score(0.4)
    taken_up.given_up("under", "pruned")
    assert [(one.state, len(one.scores)) for one in again.tried()] == [("done", 4)] * 4 + [("pruned", 3)]
    assert again.begin(None) == 0 and again.best().number == 1


def test_end_to_end_with_trials_that_fail(
    tiny: Callable[[str], Path], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, on_score = tmp_path / "run", Trial.on_score

    def failing(self: Trial, score: float) -> None:
        on_score(self, score)
        if self.number == 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
        if self.number == 3 and self.evaluations == 2:
            raise IntegrityError("the loss is not a number at step 4")

    monkeypatch.setattr(Trial, "on_score", failing)
    words = words_of(tiny, corpus, "--trials", 4, "--data.test", tmp_path / "unread.jsonl", "--out", out)
    assert clinnlp(*words) == 0
    metrics = read_json(out / "metrics.json")
    first, second, third, fourth = metrics["trials"]
    assert first["values"] == {"fit.learning_rate": 0.01, "strategy.rank": 8}, "the settings as given"
    assert (first["state"], fourth["state"]) == ("done", "done") and len(first["dev_scores"]) == 4
    assert (second["state"], second["reason"], second["score"]) == ("pruned", "out of memory", None)
    assert (third["state"], third["reason"]) == ("pruned", "the loss is not a number at step 4")
    assert read_json(out / "trial-001" / "metrics.json")["entity"]["strict"]["micro"]["f1"] == first["score"]
    assert metrics["test"] == "not read" and metrics["best"] in (1, 4)
    assert not list(out.glob("trial-*/model")) and not list(out.glob("trial-*/checkpoints"))
    with (out / "trials.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["done", "pruned", "pruned", "done"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 3 and "out of memory" in page, "history, and one chart for each setting"
    assert "test notes: not read" in (out / "report.txt").read_text(encoding="utf-8")

    best = metrics["trials"][metrics["best"] - 1]
    assert read_json(out / "best" / "metrics.json")["entity"]["strict"]["micro"]["f1"] == best["score"], "refitted"
    assert (out / "best.yaml").read_text(encoding="utf-8").startswith("# clinnlp finetune ")
    again = tmp_path / "again"
    assert clinnlp("finetune", out / "best.yaml", "--data.test", "null", "--out", again) == 0
    weights = (again / "model" / "adapter_model.safetensors").read_bytes()
    assert weights == (out / "best" / "model" / "adapter_model.safetensors").read_bytes(), "best.yaml is that model"
    assert clinnlp(*words) == 5, "it is finished"


def test_test_notes_are_scored_once_at_the_end_if_that_is_asked_for(
    tiny: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = words_of(tiny, corpus, "--trials", 1, "--final", "true", "--data.test", corpus / "test.jsonl", "--out", out)
    assert clinnlp(*words) == 0
    assert read_json(out / "best" / "metrics.json")["data"]["documents"] == 12
    assert read_json(out / "trial-001" / "metrics.json")["data"]["documents"] == 10
    assert "test notes: 12, scored once" in (out / "report.txt").read_text(encoding="utf-8")


def test_what_was_waived_is_told_by_the_refitted_model_too(
    tiny: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    target = write_jsonl(tmp_path / "target.jsonl", [*notes(20, "target"), *notes(12, "test")[:2]])
    test = write_jsonl(tmp_path / "test.jsonl", [*notes(12, "test"), notes(40, "train")[0] | {"id": "again"}])
    given = ("--domain", "reweight", "--data.target", target, "--data.test", test, "--final", "true")
    allowed = ("--data.allow", "groups,transductive", "--trials", 1, "--fit.epochs", 1, "--fit.evaluations", 1)
    assert clinnlp(*words_of(tiny, corpus, *given, *allowed, "--out", out)) == 0
    told = ["groups: groups (patients) in both train and test: 1"]
    told.append("transductive: groups (patients) in both target and test: 1")
    assert read_json(out / "best" / "metrics.json")["waived"] == told
    assert read_json(out / "metrics.json")["notices"] == [f"Waived: {line}" for line in told]


def test_no_trial_that_ends_well_is_told(
    tiny: Callable[[str], Path], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def lacking(self: Trial, score: float) -> None:
        raise MemoryError

    monkeypatch.setattr(Trial, "on_score", lacking)
    assert clinnlp(*words_of(tiny, corpus, "--trials", 2, "--out", tmp_path / "run")) == 2
    assert "none of the 2 trials was finished: out of memory" in capsys.readouterr().err


def test_killed_in_the_middle_of_a_trial(tiny: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    """SIGKILL in the second trial: the same command does it again with the same values and keeps the first."""
    out, whole = tmp_path / "run", tmp_path / "whole"
    words = words_of(tiny, corpus, "--trials", 3, "--refit", "false", "--fit.save_minutes", 0)
    process = command_line(words, out)
    assert process.stderr is not None
    line = ""
    while "trial 2 of 3" not in line:
        line = process.stderr.readline()
        assert process.poll() is None or line
    while "dev 0." not in line:
        line = process.stderr.readline()
        assert process.poll() is None or line
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (out / "trial-001" / "predictions.jsonl").exists() and not (out / "trial-002" / "predictions.jsonl").exists()
    kept = (out / "trial-001" / "predictions.jsonl").stat().st_mtime_ns
    before = read_json(out / "trial-002" / "manifest.json")["settings"]
    assert clinnlp(*words, "--out", out) == 0
    assert (out / "trial-001" / "predictions.jsonl").stat().st_mtime_ns == kept
    assert read_json(out / "trial-002" / "manifest.json")["settings"] == before
    assert clinnlp(*words, "--out", whole) == 0
    one, other = (read_json(folder / "metrics.json")["trials"] for folder in (out, whole))
    assert [dict(trial, seconds=0) for trial in one] == [dict(trial, seconds=0) for trial in other]
    assert not run_module._open


def test_the_trial_table_is_plain_json(tmp_path: Path) -> None:
    trials = Trials.open(tmp_path / "t", space_of({"strategy": ["lora", "full"]}), 1, 1, False)
    trial = trials.next()
    assert trial is not None
    trial.done(0.25)
    assert json.dumps(trials.tried()[0].values) in ('{"strategy": "lora"}', '{"strategy": "full"}')
    assert (tmp_path / "t").read_bytes().startswith(b"SQLite format 3")
