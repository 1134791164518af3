"""What every run leaves in its folder: settings and manifest."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clinnlp import config
from clinnlp.core.ranks import own_folder, ranks, shared_folder
from clinnlp.core.run import SETTINGS, Manifest, Run, is_done
from clinnlp.errors import ConfigError, InUseError

if TYPE_CHECKING:
    from clinnlp.models.load import Trained
    from clinnlp.training.checkpoints import Checkpoints

CHECKPOINTS = "checkpoints"
TOGETHER = ("pretrain", "finetune")  # what torchrun may start


def start_run(verb: str, settings: Any, out: Path, seed: int | None) -> Run:
    """A run folder with its resolved settings: new, or that of the same run, unfinished.

    Raises InUseError if the folder holds anything else, ChangedError if the unfinished run has other settings.
    """
    if ranks() > 1 and verb not in TOGETHER:
        raise ConfigError(f"{verb} is not made for several processes", next=f"only {' and '.join(TOGETHER)} are")
    if seed is not None and not 0 <= seed < 2**32:
        raise ConfigError("must be from 0 to 4294967295", where="seed")
    values = config.plain(settings)
    out = own_folder(out)
    try:
        run = Run(out, Manifest(verb, values, config.fingerprint(settings), seed))
    except InUseError:
        if is_done(out):  # a kill between the last two steps of a run leaves what nobody needs and some must not see
            shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
        raise
    (out / SETTINGS).write_text(settings_yaml(verb, values), encoding="utf-8")
    return run


def settings_yaml(verb: str, values: dict[str, Any]) -> str:
    """The resolved settings of a run as `settings.yaml` holds them."""
    import yaml

    return f"# clinnlp {verb} settings.yaml\n" + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def checkpoints_of(run: Run) -> "Checkpoints":
    """Where the training of a run saves, and is taken up again."""
    from clinnlp.training.checkpoints import Checkpoints

    return Checkpoints(shared_folder(run.folder) / CHECKPOINTS)


def save_model(trained: "Trained", folder: Path, proven: bool) -> dict[str, float]:
    """Save the model folder; the largest difference of logits in a fresh process, if that is to be proven."""
    import torch

    from clinnlp.models.verify import verify_folder

    model: Any = trained.model.to("cpu", torch.float32)
    folder.mkdir()
    model.save_pretrained(folder)
    if hasattr(model, "peft_config"):
        model.get_base_model().config.save_pretrained(folder)
    trained.tokenizer.save(folder)
    trained.card = replace(trained.card, task=trained.task)
    trained.card.write(folder)
    return {"reload_difference": verify_folder(folder, trained)} if proven else {}
