"""The choice of an engine: fast ones that change the spans are not taken, slow ones neither."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clinnlp import plugins
from clinnlp.core.document import Document
from clinnlp.engines.packed import Packed
from clinnlp.engines.torch import Torch
from clinnlp.errors import ConfigError
from clinnlp.labeling import choose as module
from clinnlp.labeling.agree import Bound
from clinnlp.labeling.choose import CANDIDATES, REFERENCE, Trial, choose, table
from tests.labeling.test_predict import random_model
from tests.tiny import sentences

Tiny = Callable[[str], Path]
NOTES = [Document(str(n), text) for n, text in enumerate([*sentences(30), "", " "])]


class Clock:
    """Time that passes only where an engine takes some: the choice does not depend on how busy the machine is."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "real" not in request.node.name:
        Fake.clock = Clock()
        monkeypatch.setattr(module, "time", Fake.clock)


class Fake:
    """An engine that answers as torch does, or backwards, after some seconds."""

    clock = Clock()

    def __init__(self, seconds: float = 0.001, wrong: bool = False, error: str = "") -> None:
        self.seconds, self.wrong, self.error = seconds, wrong, error
        self.given: list[int] = []

    def runner(self, trained: Any) -> Any:
        if self.error == "bug":
            raise RuntimeError("Qvortrup")
        if self.error:
            raise ConfigError(self.error)
        real = Torch().runner(trained)

        def run(rows: Any, budget: int) -> Any:
            self.clock.now += self.seconds
            self.given.append(len(rows))
            return [answer[::-1] if self.wrong else answer for answer in real(rows, budget)]

        return run


def outcomes(trials: list[Trial]) -> dict[str, str]:
    return {trial.name: trial.outcome for trial in trials}


def test_every_engine_is_a_candidate() -> None:
    named = {plugins.find_variant("engines", name)[0] for name in (REFERENCE, *CANDIDATES)}
    assert named == {plugins.find("engines", name) for name in plugins.names("engines")}
    every = {
        f"{name}-{value}"
        for name in plugins.names("engines")
        for value in plugins.variants(plugins.find("engines", name))
    }
    assert {REFERENCE, *CANDIDATES} == {name for name in every if not name.endswith("-auto")}


def test_the_fastest_that_keeps_the_spans(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = {
        REFERENCE: Fake(0.2),
        "packed-bf16": Fake(wrong=True),
        "packed-fp32": Fake(0.05),
        "openvino-bf16": Fake(error="the openvino engine needs openvino, not installed here"),
        "openvino-int8": Fake(0.5),
        "onnx-int8": Fake(),
        "torch-bf16": Fake(error="bug"),
    }
    monkeypatch.setattr(module, "engine_named", engines.__getitem__)
    chosen, trials = choose(random_model(tiny), NOTES, candidates=list(engines)[1:])
    assert chosen is engines["onnx-int8"]
    assert outcomes(trials) == {
        REFERENCE: "the measure of the others",
        "packed-bf16": "changes too much",
        "packed-fp32": "keeps the spans",
        "openvino-bf16": "the openvino engine needs openvino, not installed here",
        "openvino-int8": "slower",
        "onnx-int8": "chosen",
        "torch-bf16": "failed (RuntimeError)",
    }
    wrong = trials[1]
    assert wrong.agreement is not None and wrong.agreement < 0.9 and wrong.notes == 30
    lenient, _ = choose(random_model(tiny), NOTES, Bound(0.0), candidates=["packed-bf16"])
    assert lenient is engines["packed-bf16"]


def test_gold_that_is_lost_counts(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    from clinnlp.labeling.predict import predict

    trained = random_model(tiny)
    gold = list(predict(trained, NOTES))
    engines = {REFERENCE: Fake(0.2), "packed-bf16": Fake(wrong=True)}
    monkeypatch.setattr(module, "engine_named", engines.__getitem__)
    assert choose(trained, NOTES, Bound(0.0), candidates=["packed-bf16"])[0] is engines["packed-bf16"]
    assert choose(trained, gold, Bound(0.0), candidates=["packed-bf16"])[0] is engines[REFERENCE]


def test_a_slow_model_is_tried_on_fewer_notes_and_time_runs_out(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = {REFERENCE: Fake(0.2), "packed-bf16": Fake(0.1), "packed-fp32": Fake(0.1)}
    monkeypatch.setattr(module, "engine_named", engines.__getitem__)
    chosen, trials = choose(random_model(tiny), NOTES, seconds=0.6, candidates=list(engines)[1:])
    assert outcomes(trials)["packed-fp32"] == "not tried: time was up"
    assert max(engines[REFERENCE].given) < 30 / 2 and chosen in engines.values()


def test_nothing_to_read(tiny: Tiny) -> None:
    assert choose(random_model(tiny), [Document("1", " ")]) == (Torch(), [])
    assert choose(random_model(tiny), []) == (Torch(), [])


def test_real_engines(tiny: Tiny) -> None:
    chosen, trials = choose(random_model(tiny), NOTES, candidates=("packed-fp32", "openvino-fp32"))
    assert chosen in (Torch(), Packed(precision="fp32"), plugins.find("engines", "openvino")())
    assert all(trial.tokens_per_second for trial in trials)
    assert all(trial.agreement in (None, 1.0) for trial in trials)


def test_the_table() -> None:
    trials = [Trial("torch-fp32", "chosen", 1234.5, 0.0, 1.0, 30), Trial("onnx-int8", "not tried: time was up")]
    assert table(trials).splitlines() == [
        "engine          tokens/s  load s  agreement on notes  outcome",
        "torch-fp32         1,234     0.0   100.00 %       30  chosen",
        "onnx-int8              -       -          -        -  not tried: time was up",
    ]
