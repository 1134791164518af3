"""Which device and number format: what is asked for, or what is there."""

import sys

import pytest
import torch

from clinnlp.errors import ConfigError
from clinnlp.models import device
from clinnlp.models.device import be_worker, choose_device, choose_precision, place


def test_what_is_asked_for_is_taken() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_precision("fp32", "cpu") == "fp32"
    assert choose_precision("bf16", "cpu") == "bf16"


@pytest.mark.parametrize(("bf16", "wanted"), [(0.5, "bf16"), (0.9, "fp32"), (2.0, "fp32")])
def test_auto_takes_bf16_where_it_is_half_as_fast_again(
    bf16: float, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_seconds", lambda dtype: bf16 if dtype == torch.bfloat16 else 1.0)
    assert choose_precision("auto", "cpu") == wanted


def test_auto_measures_on_this_machine() -> None:
    assert choose_precision("auto", "cpu") in ("fp32", "bf16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    assert choose_device("auto") == "cpu"
    with pytest.raises(ConfigError, match=r"no GPU that torch can use.*--fit.device auto"):
        choose_device("cuda")


def test_torch_is_not_asked_where_the_system_shows_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device, "exists", lambda path: False)
    assert choose_device("auto") == "cpu"
    assert choose_device("cuda") == "cuda", "who names it is believed"
    monkeypatch.setattr(device, "exists", lambda path: path == "/dev/nvidiactl")
    assert choose_device("auto") == "cuda" and choose_device("cpu") == "cpu"


def test_workers_take_turns_over_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(device, "_worker", 0)
    places = []
    for number in range(6):
        be_worker(number)
        places.append(place("cuda"))
    assert places == ["cuda:0", "cuda:1", "cuda:2", "cuda:3", "cuda:0", "cuda:1"]
    assert place("cpu") == "cpu"
