"""Which device and number format: what is asked for, or what is there."""

import pytest
import torch

from clinnlp.errors import ConfigError
from clinnlp.models import device
from clinnlp.models.device import choose_device, choose_precision


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
