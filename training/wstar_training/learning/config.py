"""Settings of the training of one T, and the coordinates that it may act on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from wstar.errors import InvalidInput
from wstar_training.models.flow import Masks

# The 512 numbers of each row, all numbers of a code at once, or its first r principal axes.
Layout = int | Literal["rows", "flat"]
Perceptual = Literal["sketch", "exact"]
IdentityTarget = Literal["regenerated", "input"]
Precision = Literal["fp32", "bf16"]
Schedule = Literal["constant", "cosine"]

_CHOICES = {
    "masks": get_args(Masks),
    "perceptual": get_args(Perceptual),
    "identity_target": get_args(IdentityTarget),
    "precision": get_args(Precision),
    "schedule": get_args(Schedule),
}
_COUNTS = (
    "couplings", "steps", "hidden", "identity_batch", "validate_every", "save_every", "patience",
)  # fmt: skip
_WEIGHTS = ("weight_decay", "distance_weight", "identity_weight", "noise", "scale_weight")


@dataclass(frozen=True)
class FlowOptions:
    """Settings of the training of one T; defaults are the paper's where it gives them, but for two:
    λ_d counts in another unit, and `scale_weight` is no term of the paper's.

    couplings, hidden: number of coupling layers and width of their networks.
    masks: of the couplings: random halves, each followed by its complement, or even and odd
        coordinates in turn.
    tanh_t: bound t to [-1, 1], as s is.
    steps, batch: gradient steps, and codes per step over all processes; all pairs of a batch count.
    rate, betas, weight_decay: of AdamW.
    schedule, warmup: how the rate goes on from its peak: `constant`, or falling as a cosine to 0 at
        the last step; and the steps in which it rises to it in a line.
    ema: decay per step of the moving average of the weights, which is validated and kept; 0: the
        weights themselves.
    precision: `bf16` lets s and t compute in bfloat16 while T trains; all else, and every
        validation, is float32.
    compile: train f through torch.compile, which needs a C++ compiler. On one CPU core it did not
        pay: 42 ms a step instead of 33 (128 coordinates, width 128, batch 128) and 234 instead of
        210 (rows, width 512, batch 8), after 30 to 50 s for the first; not measured on a GPU.
    distance_weight: λ_d of eq. 3, for distances in units of the mean perceptual distance m, so
        that it means the same for every judge and scale; for distances as they are, the paper's
        10 is 10·m² here.
    perceptual: train towards distances of sketches, or let the judge look at the pictures of every
        batch, `exact` and hundreds of times slower.
    identity_weight, identity_batch, noise: λ_ID and the codes per step of eq. 4, and the standard
        deviation τ of its ε in standardised coordinates; a weight of 0 leaves eq. 3.
    identity_target: the left side of eq. 4: F of the reconstruction, or of the `input` picture.
    scale_weight: weight of the mean of s², which keeps the inverse well conditioned in float32.
    validate_every: steps between validations; the best validated T is kept.
    save_every: steps between states that a killed training goes on from.
    patience: validations without improvement after which training stops.
    """

    couplings: int
    steps: int
    hidden: int = 512
    masks: Masks = "half"
    tanh_t: bool = False
    batch: int = 8
    rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    warmup: int = 0
    ema: float = 0.0
    precision: Precision = "fp32"
    compile: bool = False
    distance_weight: float = 10.0
    perceptual: Perceptual = "sketch"
    identity_weight: float = 0.0
    identity_batch: int = 1
    identity_target: IdentityTarget = "regenerated"
    noise: float = 0.1
    scale_weight: float = 1.0
    validate_every: int = 200
    save_every: int = 1000
    patience: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        for name in _COUNTS:
            self._check(name, getattr(self, name) >= 1, "1 or more")
        for name in _WEIGHTS:
            self._check(name, getattr(self, name) >= 0, "0 or more")
        for name, choices in _CHOICES.items():
            self._check(name, getattr(self, name) in choices, " or ".join(choices))
        self._check("batch", self.batch >= 2, "2 or more: the loss counts pairs")
        self._check("rate", self.rate > 0, "above 0")
        self._check("betas", all(0 <= beta < 1 for beta in self.betas), "two from 0 to below 1")
        self._check("ema", 0 <= self.ema < 1, "from 0 to below 1")
        self._check("warmup", 0 <= self.warmup < self.steps, f"0 to below the {self.steps} steps")
        self._check("seed", self.seed >= 0, "0 or more")

    def _check(self, name: str, fine: bool, allowed: str) -> None:
        if not fine:
            raise InvalidInput(name, getattr(self, name), allowed)
