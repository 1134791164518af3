"""`clinnlp doctor`: is this machine ready, and safe enough."""

import os
import pyexpat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from clinnlp.version import VERSION

FLOORS = {
    "torch": "2.10",  # known remote-code flaw below
    "transformers": "5.23",  # known remote-code flaw below 5.3
    "tokenizers": "0.23",
    "accelerate": "1.12",
    "peft": "0.20",
    "datasets": "5.0",
    "evaluate": "0.4.6",
    "spacy": "3.8.11",
    "safetensors": "0.7",
    "pyarrow": "21",
    "numpy": "2.1",
}


@dataclass(frozen=True)
class Doctor:
    """Check versions against their floors, the device, the offline state and permissions."""

    out: Path = Path()
    """Where runs will be written."""


def run(settings: Doctor) -> int:
    """Print the findings; 1 if something must be mended."""
    print(f"clinnlp {VERSION}")
    broken = False
    for good, name, finding in (*_versions(), *_machine(), *_network(), *_permissions(settings.out)):
        broken |= not good
        print(f"  {'ok ' if good else 'BAD'}  {name:<14} {finding}")
    print("something must be mended" if broken else "ready")
    return int(broken)


def _versions() -> Iterator[tuple[bool, str, str]]:
    for name, floor in FLOORS.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield False, name, f"missing; needs {floor} or newer: pip install {name}"
            continue
        yield _numbers(found) >= _numbers(floor), name, f"{found} (needs {floor} or newer)"
    expat = ".".join(map(str, pyexpat.version_info))
    yield pyexpat.version_info >= (2, 4, 0), "expat", f"{expat} (needs 2.4.0 or newer)"


def _machine() -> Iterator[tuple[bool, str, str]]:
    import torch

    from clinnlp.models.device import choose_device, choose_precision

    device = choose_device("auto")
    name = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    yield True, "device", f"{device} ({name}), {choose_precision('auto', device)} is the faster number format"


def _network() -> Iterator[tuple[bool, str, str]]:
    yield True, "network", "clinnlp is offline unless a command says --download true"
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    if home.exists():
        shared = bool(home.stat().st_mode & 0o002)
        yield not shared, "hub cache", "anyone may write to it: chmod o-w" if shared else "private to its owner"


def _permissions(out: Path) -> Iterator[tuple[bool, str, str]]:
    folder = out if out.is_dir() else out.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            yield True, "output", "can be written"
    except OSError as error:
        yield False, "output", f"cannot be written: {error.strerror}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("+")[0].split(".") if part.isdigit())
