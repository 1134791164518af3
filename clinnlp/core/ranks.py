"""Several processes that train one model, as torchrun and accelerate start them: who this one is, and its folder."""

import atexit
import os
import shutil
from pathlib import Path


def rank() -> int:
    """The number of this process among those that train together; the first, 0, is the one that writes."""
    return int(os.environ.get("RANK", "0"))


def ranks() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def own_folder(out: Path) -> Path:
    """The folder that this process works in: of all but the first a hidden one beside it, which ends with them."""
    if not rank():
        return out
    own = out.absolute().with_name(f".{out.name}{_ending()}")
    shutil.rmtree(own, ignore_errors=True)
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def shared_folder(own: Path) -> Path:
    """The folder of the first process, by that of this one."""
    return own.with_name(own.name.removeprefix(".").removesuffix(_ending())) if rank() else own


def _ending() -> str:
    return f".rank-{rank()}"
