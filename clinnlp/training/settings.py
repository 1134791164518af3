"""The settings of a training loop, readable without loading torch."""

from dataclasses import dataclass
from typing import Literal

from clinnlp.errors import ConfigError

LEAST_NOISE = 0.2  # of private training: under it epsilon is in the hundreds, and its integrals want finer steps


@dataclass(frozen=True)
class FitSettings:
    """How long, how fast and in what portions a model is trained."""

    epochs: float | None = None
    """Passes over the training data; null takes the strategy's default."""
    min_steps: int = 0
    """Train at least this many optimizer steps, however few the epochs: small data sets need it."""
    max_steps: int | None = None
    """Stop after this many optimizer steps, whatever the epochs."""
    batch: int = 16
    """Rows (windows, packed blocks or notes) per forward pass."""
    accumulate: int = 1
    """Forward passes per optimizer step."""
    learning_rate: float | None = None
    """Peak learning rate; null takes the strategy's default."""
    schedule: Literal["linear", "cosine", "constant", "wsd", "slanted_triangular"] = "linear"
    """Learning-rate curve after the warmup; wsd is warmup, stable, 1-sqrt decay; slanted_triangular is ULMFiT's, which
    begins and ends at 1/32 of the peak."""
    warmup: float = 0.1
    """Share of all steps over which the rate rises to its peak."""
    decay: float = 0.25
    """Share of all steps over which wsd decays."""
    weight_decay: float = 0.01
    """AdamW weight decay, not applied to biases and norms."""
    beta2: float = 0.999
    """Second-moment decay of AdamW."""
    clip: float = 1.0
    """Largest gradient norm."""
    average: Literal["none", "ema", "last"] = "none"
    """Score and keep averages of weights: over all steps, moving on (ema), or over the last evaluations (last)."""
    ema_decay: float = 0.999
    """How much of a moving average a step leaves as it was; less at first."""
    average_last: int = 5
    """Evaluations of which `last` is the mean."""
    evaluations: int | None = None
    """Dev evaluations in the run; null makes one per epoch."""
    patience: int = 4
    """Stop after this many dev evaluations without a better score; 0 never stops early."""
    min_gain: float = 0.0
    """A dev score that is better by less than this counts against `patience`; its weights are kept all the same."""
    save_minutes: float = 10.0
    """Minutes between checkpoints; a run that was cut off goes on from the last one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the matrix products; auto measures once whether bf16 is faster on this machine."""
    attention_dropout: bool = False
    """Drop attention weights as the base's config says, too, not hidden states alone: far slower on CPUs."""
    recompute: bool = False
    """Keep no activations within a layer and compute them again going back: less memory, about a third more time."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes the GPU if there is one."""

    def __post_init__(self) -> None:
        for name in ("batch", "accumulate", "max_steps", "evaluations", "average_last"):
            if (count := getattr(self, name)) is not None and count < 1:
                raise ConfigError("must be 1 or more", where=f"fit.{name}")
        for name in ("epochs", "learning_rate"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise ConfigError("must be more than 0", where=f"fit.{name}")
        for name in ("ema_decay", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError("must be a share from 0 to under 1", where=f"fit.{name}")
        for name in ("min_gain", "min_steps", "patience", "weight_decay"):
            if getattr(self, name) < 0:
                raise ConfigError("must be 0 or more", where=f"fit.{name}")
        if self.clip <= 0:
            raise ConfigError("must be more than 0", where="fit.clip", next="1e9 clips nothing")
        if self.save_minutes < 0:
            raise ConfigError("must be 0 (after every step) or more", where="fit.save_minutes")
        if not (0 <= self.warmup < 1 and 0 <= self.decay <= 1):
            raise ConfigError("must be a share between 0 and 1", where="fit.warmup or fit.decay")


@dataclass(frozen=True)
class SupervisedFit(FitSettings):
    """How a model is fine-tuned: what only makes sense with a base, a head and classes beside it."""

    layer_decay: float = 1.0
    """Each layer moves at this share of the rate of the one above it; the head and the top layer at the full rate."""
    base_penalty: float = 0.0
    """Decay towards the base weights (L2-SP), in place of the weight decay of the encoder, which goes towards zero."""
    fresh_layers: int = 0
    """Top layers that begin with random weights; the strategy must move them."""
    balance: float = 0.0
    """Draw examples of rare classes oftener: 1 draws all classes alike, 0.5 half way there, 0 takes what is there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.layer_decay <= 1:
            raise ConfigError("must be a share over 0, or 1", where="fit.layer_decay")
        if not 0 <= self.balance <= 1:
            raise ConfigError("must be from 0 to 1", where="fit.balance")
        for name in ("base_penalty", "fresh_layers"):
            if getattr(self, name) < 0:
                raise ConfigError("must be 0 or more", where=f"fit.{name}")


@dataclass(frozen=True)
class Privacy:
    """Differentially private training: how little one patient may change the model (docs/privacy.md)."""

    epsilon: float | None = None
    """The most that one patient may matter; the noise is chosen for it. Give this or noise."""
    noise: float | None = None
    """Standard deviation of the noise as a multiple of clip, in place of epsilon."""
    delta: float = 1e-5
    """Chance that the bound does not hold; must be under 1 by the number of patients."""
    clip: float = 0.1
    """Largest gradient norm of one patient."""
    rate: float = 0.1
    """Chance of each patient to be drawn for a step; a step has this share of the patients on average."""
    unit: Literal["patient", "note"] = "patient"
    """Whom it protects: all notes of a patient together, or one note, which says less where patients have several."""
    public_dev: bool = False
    """Let dev notes choose weights and thresholds: right only if they are not private, as no noise covers them."""

    def __post_init__(self) -> None:
        if (self.epsilon is None) == (self.noise is None):
            raise ConfigError("give either epsilon or noise", where="privacy", next="--privacy.epsilon 8")
        for name in ("epsilon", "clip"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise ConfigError("must be more than 0", where=f"privacy.{name}")
        if self.noise is not None and self.noise < LEAST_NOISE:
            raise ConfigError(
                f"must be {LEAST_NOISE} or more: with less there is no guarantee to speak of", where="privacy.noise"
            )
        if not 0 < self.delta < 1:
            raise ConfigError("must be a chance over 0 and under 1", where="privacy.delta")
        if not 0 < self.rate <= 1:
            raise ConfigError("must be a chance over 0, or 1", where="privacy.rate")
