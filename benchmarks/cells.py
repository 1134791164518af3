"""Cells of a benchmark: runs of the command line that are kept and not repeated, and the result file."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any


def clinnlp(verb: str, out: Path, settings: dict[str, Any], *positionals: str) -> Path:
    """Run a verb into `out` unless it is finished there; returns `out`."""
    if not finished(out):
        words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        command = [sys.executable, "-m", "clinnlp", *verb.split(), *positionals, "--out", str(out), *words]
        subprocess.run(command, check=True)
    return out


def finished(folder: Path) -> bool:
    manifest = folder / "manifest.json"
    return manifest.exists() and json.loads(manifest.read_text())["status"] == "done"


def read(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text())
    return values


def write(name: str, values: dict[str, Any]) -> None:
    """Write a result with its command and machine."""
    import torch

    machine = f"{platform.machine()}, CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv]
    result = {"command": " ".join(["python", *words]), "machine": machine, **values}
    path = Path(__file__).parent / "results" / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(values, indent=2))
