"""What an engine is: one way to turn rows of token ids into the logits of a trained model."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinnlp import config
from clinnlp.encode.packing import pad_rows
from clinnlp.errors import ConfigError
from clinnlp.models.device import choose_device, choose_precision
from clinnlp.models.folder import Card
from clinnlp.models.load import Runner, Trained
from clinnlp.plugins import find, find_variant

TOLERANCE = 1e-4  # of logits up to 1; larger ones may differ in proportion
CPU_TOKENS = 2048  # of a padded batch on a processor: the layers of a larger one fall out of its caches
PROBE = (9, 24, 24, 5, 60)  # tokens of the rows on which an architecture is tried


@dataclass(frozen=True)
class Engine:
    """One way to run a trained model; its fields are its options.

    To add one: write `clinnlp/engines/NAME.py` with one frozen dataclass that extends this class and defines
    `runner` or, where it runs a graph of its own, `export` and `open`. The runner answers rows of ids as plain torch
    does in fp32, up to the rounding of its number format.
    """

    kind: ClassVar[str] = "engines"
    variant: ClassVar[str] = "precision"
    """The option whose value may stand in the name: packed-bf16."""
    library: ClassVar[str] = "torch"
    """The package that computes; a labeling run goes on with the version of it that it began with."""

    def resolved(self) -> "Engine":
        """The engine with a device and a number format instead of `auto`, so that a run names what it was made with.

        Raises ConfigError for a device that is not there.
        """
        found: dict[str, Any] = {}
        if hasattr(self, "device"):
            found["device"] = choose_device(self.device, "engine.device")
        if getattr(self, "precision", None) == "auto":
            found["precision"] = choose_precision("auto", found.get("device", "cpu"))
        return replace(self, **found)

    def runner(self, trained: Trained) -> Runner:
        """Make the model ready; what comes back takes rows of ids and a budget of tokens a forward pass.

        It answers with one array for each row, (S, C) or (L,), in the given order. Raises ConfigError if this engine
        cannot run the model.
        """
        # Windows cannot remove a file that is mapped: what `open` gives must not need the folder any more
        with tempfile.TemporaryDirectory(prefix="clinnlp-") as folder:
            self.export(trained, Path(folder))
            return self.open(Path(folder))

    def export(self, trained: Trained, folder: Path) -> None:
        """Write the graph that `open` runs into a folder. Raises ConfigError if this engine cannot run the model."""
        raise ConfigError(
            f"the {engine_name(self)} engine has no graph of its own to export: it runs the model folder as it is",
            where="engine",
            next="choose onnx or openvino",
        )

    def open(self, folder: Path) -> Runner:
        """The runner of a graph that `export` wrote; takes no torch weights. Raises IntegrityError for another file."""
        raise AssertionError(f"{type(self).__name__} defines no open()")


def engine_name(engine: Engine) -> str:
    """What a user types for an engine: onnx, packed."""
    return type(engine).__module__.rsplit(".", 1)[-1]


def engine_named(name: str) -> Engine:
    """The engine that a user's word means, such as packed-bf16. Raises ConfigError with the nearest name."""
    plugin, options = find_variant("engines", name)
    engine: Engine = config.build(plugin, options, "engine")
    return engine


def plain_engine(engine: Engine) -> dict[str, Any]:
    """The name of an engine with its options, as a model folder stores them."""
    return {"name": engine_name(engine), **config.plain(engine)}


def engine_of(values: Mapping[str, Any]) -> Engine:
    """The engine that `plain_engine` gave these values for."""
    options = dict(values)
    engine: Engine = config.build(find("engines", str(options.pop("name", ""))), options, "engine")
    return engine


def engine_for(card: Card, wanted: Engine | None) -> Engine:
    """The engine that is wanted, or that a model was exported for, or plain torch, on a device of this machine.

    Raises ConfigError for a device that is not there.
    """
    if wanted is None and card.engine:
        return engine_of(card.engine)
    return (wanted or engine_named("torch")).resolved()


def run_by(trained: Trained, engine: Engine | None) -> Trained:
    """The model run by an engine; where none is named by what it was exported for, or plain torch.

    Raises ConfigError for what `export` made for another engine, and for a device that is not there.
    """
    engine = engine_for(trained.card, engine)
    if trained.card.engine != plain_engine(engine):
        trained.runner = engine.runner(trained)
    return trained


def need(extra: str, *modules: str) -> None:
    """Raises ConfigError, saying what to install, if an optional library is missing."""
    if missing := [name for name in modules if find_spec(name) is None]:
        raise ConfigError(
            f"the {extra} engine needs {', '.join(missing)}, not installed here",
            where="engine",
            next=f"pip install 'clinnlp[{extra}]'",
        )


def probe_rows(trained: Trained) -> list[NDArray[np.int32]]:
    """Rows of unlike lengths, the same every time, on which an architecture is tried."""
    draw, room = np.random.default_rng(0), trained.task.window - trained.tokenizer.specials
    return [
        trained.tokenizer.wrap(draw.integers(0, trained.tokenizer.vocab_size, min(length, room))) for length in PROBE
    ]


def check_runner(
    engine: Engine,
    trained: Trained,
    run: Runner,
    wanted: Sequence[NDArray[np.float32]],
    tolerance: float = TOLERANCE,
) -> None:
    """Raises ConfigError unless a runner answers `probe_rows` as plain torch does; in fp32 the tolerance is small."""
    rows = probe_rows(trained)
    try:
        found = run(rows, sum(map(len, rows)))
        off = [np.abs(a - b).max() / max(1.0, np.abs(b).max()) for a, b in zip(found, wanted, strict=True)]
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
        off = [np.inf]
    if not max(off) <= tolerance:
        raise unfit(engine, trained)


def unfit(engine: Engine, trained: Trained) -> ConfigError:
    """The error of an engine for a model that it cannot run."""
    model: Any = trained.model
    return ConfigError(
        f"the {engine_name(engine)} engine cannot run a {model.config.model_type} model of this kind",
        where="engine",
        next="use --engine torch",
    )


def batches(lengths: Sequence[int], budget: int, padded: bool) -> Iterator[list[int]]:
    """Indices in batches of at most `budget` tokens, longest first (ties in order); a longer row is alone.

    `padded` counts every row of a batch as long as its longest.
    """
    batch: list[int] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and tokens + lengths[batch[0] if padded else index] > budget:
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += lengths[batch[0] if padded else index]
    if batch:
        yield batch


def as_array(logits: Any) -> NDArray[np.float32]:
    """A torch tensor of logits as a float32 array."""
    found: NDArray[np.float32] = logits.float().cpu().numpy()
    return found


def plain_runner(trained: Trained, bf16: bool = False) -> Runner:
    """Padded batches through `trained.model`, whatever it is when they come."""
    pad = trained.tokenizer.pad_id or 0

    def run(rows: Sequence[NDArray[np.int32]], budget: int) -> list[NDArray[np.float32]]:
        import torch

        lengths = [len(row) for row in rows]
        device = next(trained.model.parameters()).device
        budget = min(budget, CPU_TOKENS) if device.type == "cpu" else budget
        found: dict[int, NDArray[np.float32]] = {}
        for batch in batches(lengths, budget, padded=True):
            given = _padded([rows[index] for index in batch], pad)
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                output: Any = trained.model(**{name: values.to(device) for name, values in given.items()})
            logits = as_array(output.logits)
            for index, answer in zip(batch, logits, strict=True):
                found[index] = answer[: lengths[index]] if logits.ndim == 3 else answer
        return [found[index] for index in range(len(rows))]

    return run


def _padded(rows: list[NDArray[np.int32]], pad: int) -> dict[str, Any]:
    """`input_ids` (B, S), and `attention_mask` where the rows differ in length."""
    import torch

    ids = pad_rows(rows, pad)
    given = {"input_ids": torch.from_numpy(ids)}
    lengths = np.array([len(row) for row in rows])
    if (lengths != ids.shape[1]).any():
        mask = np.arange(ids.shape[1])[None, :] < lengths[:, None]
        given["attention_mask"] = torch.from_numpy(mask.astype(np.int64))
    return given
