"""Optional libraries of engines: missing ones are named with what installs them, and none speaks to the network."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clinnlp.engines import base
from clinnlp.engines.base import engine_named
from clinnlp.errors import ConfigError

WATCH = """
import os, sys
told = os.open("tried", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

def watch(event, given):
    if event in ("socket.connect", "socket.getaddrinfo"):
        os.write(told, event.encode() + b" ")  # a file, for processes that are forked to send something

sys.addaudithook(watch)
"""
WAIT = "import time; time.sleep(2)"
LINEAR = """
import torch
module = torch.nn.Linear(2, 2).eval()
openvino.convert_model(module, example_input=torch.ones(1, 2))
"""


def tried(program: str, home: Path) -> str:
    """What a fresh process with its own home asked of the network; made-up proxies keep it on this machine."""
    quiet = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[1]), **quiet}
    command = [sys.executable, "-c", f"{WATCH}\n{program}\n{WAIT}"]
    subprocess.run(command, capture_output=True, check=True, env=environment, cwd=home)
    return (home / "tried").read_text()


def test_openvino_by_itself_speaks_to_the_network(tmp_path: Path) -> None:
    """The check sees it; if this fails, a later OpenVINO has become quiet and our block can go."""
    assert tried(f"import openvino\n{LINEAR}", tmp_path) != ""


def test_openvino_as_we_load_it_does_not(tmp_path: Path) -> None:
    program = f"from clinnlp.engines.openvino import _library\nopenvino = _library()\n{LINEAR}"
    assert tried(program, tmp_path) == ""
    assert not (tmp_path / "intel").exists(), "nor does it leave a number that tells this user from others"


def test_onnxruntime_does_not(tmp_path: Path) -> None:
    program = """
import onnx, onnxruntime
from onnx import helper
from pathlib import Path
from clinnlp.engines.onnx import Onnx
given = helper.make_tensor_value_info("input_ids", 7, [1, "s"])
said = helper.make_tensor_value_info("logits", 7, [1, "s"])
graph = helper.make_graph([helper.make_node("Identity", ["input_ids"], ["logits"])], "g", [given], [said])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
path = Path.home() / "model.onnx"
path.write_bytes(model.SerializeToString())
Onnx().open(path.parent)
"""
    assert tried(program, tmp_path) == ""


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("onnx-int8", "onnxscript", "onnx"), ("onnx", "onnxruntime", "onnx"), ("openvino", "openvino", "openvino")],
)
def test_a_missing_library_is_named_with_what_installs_it(
    name: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = base.find_spec
    monkeypatch.setattr(base, "find_spec", lambda wanted: None if wanted == module else real(wanted))
    model: Any = None
    with pytest.raises(ConfigError) as told:
        engine_named(name).export(model, tmp_path)
    assert str(told.value) == (
        f"engine: the {extra} engine needs {module}, not installed here. Next: pip install 'clinnlp[{extra}]'."
    )
