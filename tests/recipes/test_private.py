"""`clinnlp finetune --privacy.epsilon`: what is told and kept and refused, and that breaks change nothing."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clinnlp.errors import ConfigError
from clinnlp.recipes.compare_strategies import CompareStrategies
from clinnlp.recipes.crossvalidate import CrossValidate
from clinnlp.recipes.finetune import Finetune
from clinnlp.recipes.learning_curve import LearningCurve
from clinnlp.recipes.select import Select
from clinnlp.recipes.selftrain import SelfTrain
from clinnlp.recipes.tune import Tune
from clinnlp.training.accountant import epsilon_of
from clinnlp.training.settings import Privacy
from tests.recipes.command import FAST, clinnlp, notes, read_json, write_jsonl
from tests.recipes.conftest import LORA
from tests.recipes.test_resume import killed_after, left

PRIVATE = ("--privacy.epsilon", 20, "--privacy.delta", 0.01, "--privacy.rate", 0.25, "--fit.max_steps", 12, "--seed", 1)
Words = tuple[object, ...]


@pytest.fixture(scope="module")
def words(tiny: Callable[[str], Path], corpus: Path) -> Words:
    data = [word for name in ("train", "dev", "test") for word in (f"--data.{name}", corpus / f"{name}.jsonl")]
    return ("finetune", "--base", tiny("bert"), *data, *FAST, *LORA, *PRIVATE)


@pytest.fixture(scope="module")
def one_secret() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clinnlp.training.private.secrets.token_bytes", lambda count: bytes(range(count)))
        yield patch


@pytest.fixture(scope="module")
def whole(words: Words, one_secret: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("private") / "run"
    assert clinnlp(*words, "--out", out) == 0
    return out


def test_the_guarantee_is_in_the_metrics_the_manifest_and_on_the_card(whole: Path) -> None:
    card = read_json(whole / "model" / "clinnlp.json")["privacy"]
    noise = card["noise multiplier"]
    assert card["epsilon"] == pytest.approx(epsilon_of(0.25, noise, 12, 0.01), abs=1e-3)
    assert 19.5 < card["epsilon"] <= 20
    assert (card["protects each"], card["protected"], card["private steps"]) == ("patient", 20, 12)
    facts = read_json(whole / "manifest.json")["facts"]
    assert {name: facts[name] for name in card} == card
    assert facts["dev notes"] == 10
    assert f"{card['epsilon']:g}" in (whole / "report.html").read_text(encoding="utf-8")
    readme = (whole / "model" / "README.md").read_text(encoding="utf-8")
    told = (
        f"- Differential privacy: epsilon {card['epsilon']:g} at delta 0.01 for each patient of the training notes "
        f"(20), by the RDP of the Poisson-sampled Gaussian mechanism (noise multiplier {noise:g}, clipping norm 0.1, "
        "sampling rate 0.25, private steps 12). It covers these weights alone: not the list of labels, nor what the "
        "base model was trained on. Dev notes chose nothing.\n"
    )
    assert told in readme


def test_dev_notes_choose_nothing_and_the_secret_is_gone(whole: Path) -> None:
    facts = read_json(whole / "manifest.json")["facts"]
    assert (facts["best step"], facts["best dev score"], facts["steps"]) == (None, None, 12)
    assert not any("score" in row for row in read_json(whole / "training.json")["history"])
    assert not (whole / "checkpoints").exists()


def test_other_models_say_that_there_is_none(ner_run: Path) -> None:
    assert "- Differential privacy: none\n" in (ner_run / "model" / "README.md").read_text(encoding="utf-8")
    assert "privacy" not in read_json(ner_run / "model" / "clinnlp.json")
    assert "epsilon" not in read_json(ner_run / "manifest.json")["facts"]


@pytest.mark.parametrize("saves", [1, 7])
def test_killed_and_given_again_it_is_the_same_model_and_epsilon(
    words: Words, whole: Path, saves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    killed_after(saves, words, out, monkeypatch)
    assert clinnlp(*words, "--out", out) == 0
    assert left(out) == left(whole)
    assert "model/clinnlp.json" in left(out)


def test_a_break_keeps_the_secret_it_drew(
    words: Words, tmp_path: Path, one_secret: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[bytes] = []

    def draw(count: int) -> bytes:
        drawn.append(bytes([len(drawn)] * count))
        return drawn[-1]

    monkeypatch.setattr("clinnlp.training.private.secrets.token_bytes", draw)
    killed_after(2, words, tmp_path / "run", monkeypatch)
    assert clinnlp(*words, "--out", tmp_path / "run") == 0
    assert len(drawn) == 1
    assert clinnlp(*words, "--out", tmp_path / "again") == 0
    assert len(drawn) == 2
    weights = [(tmp_path / name / "model" / "adapter_model.safetensors").read_bytes() for name in ("run", "again")]
    assert weights[0] != weights[1], "the seed does not give the noise away"


def test_notes_of_their_own_with_public_dev_notes(words: Words, tmp_path: Path) -> None:
    made = [{key: value for key, value in note.items() if key != "group"} for note in notes(40, "train")]
    path = write_jsonl(tmp_path / "train.jsonl", made)
    kind = ("--data.train", path, "--task", "note_classification", "--privacy.unit", "note")
    more = ("--privacy.public_dev", "true", "--fit.evaluations", 3, "--out", tmp_path / "run")
    assert clinnlp(*words, *kind, *more) == 0
    card = read_json(tmp_path / "run" / "model" / "clinnlp.json")["privacy"]
    assert (card["protects each"], card["protected"]) == ("note", 40)
    facts = read_json(tmp_path / "run" / "manifest.json")["facts"]
    assert facts["best step"] in (4, 8, 12)
    epsilon = epsilon_of(0.25, card["noise multiplier"], facts["steps"], 0.01)
    assert card["epsilon"] == pytest.approx(epsilon, abs=1e-3)
    readme = (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")
    assert "Dev notes chose weights and thresholds, uncovered." in readme


def test_notes_without_a_patient_are_refused(words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = notes(40, "train")
    del made[3]["group"]
    path = write_jsonl(tmp_path / "train.jsonl", made)
    assert clinnlp(*words, "--data.train", path, "--out", tmp_path / "run") != 0
    told = capsys.readouterr().err
    assert "data.train: 1 of 40 notes do not say whose they are, so no patient can be protected." in told
    assert "--data.group_field" in told


PRIVACY = Privacy(epsilon=8.0)
PLAIN = Finetune(out=Path("out"), base="base", privacy=PRIVACY)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fit": replace(PLAIN.fit, balance=1.0)},
         "fit.balance: not with privacy: the classes of all notes would decide who is drawn."),
        ({"fit": replace(PLAIN.fit, accumulate=2)},
         "fit.accumulate: not with privacy: a step reads its patients one by one."),
        ({"data": replace(PLAIN.data, target_labeled="x")},
         "data.target_labeled: not with privacy: the account knows the notes of data.train alone."),
        ({"data": replace(PLAIN.data, allow=("groups",)), "privacy": replace(PRIVACY, public_dev=True)},
         "data.allow: not with privacy: a patient of dev notes is not covered."),
    ],
)  # fmt: skip
def test_what_would_spend_more_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        replace(PLAIN, **options)
    assert str(error.value).startswith(message)


def test_domain_methods_and_caches_are_refused() -> None:
    from clinnlp.domains.dann import Dann
    from clinnlp.strategies.top_layers import TopLayers

    with pytest.raises(ConfigError, match="domain: not with privacy: domain methods read all notes at once"):
        replace(PLAIN, domain=Dann(), data=replace(PLAIN.data, target="x"))
    with pytest.raises(ConfigError, match=r"strategy\.cache: not with privacy: a cache holds what the lower layers"):
        replace(PLAIN, strategy=TopLayers())


@pytest.mark.parametrize("verb", [Tune, CrossValidate, CompareStrategies, LearningCurve, Select, SelfTrain])
def test_several_models_are_refused(verb: type[Finetune]) -> None:
    own: dict[str, Any] = {"candidates": "one,two"} if verb is Select else {"base": "base"}
    with pytest.raises(ConfigError) as error:
        verb(out=Path("out"), privacy=PRIVACY, **own)
    assert str(error.value).startswith("privacy: this trains several models on the same patients, and each spends ")


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="privacy: private training runs in one process"):
        replace(PLAIN)
