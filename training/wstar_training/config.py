"""Settings of the stages of training, one frozen dataclass each."""

from __future__ import annotations

from dataclasses import dataclass

from wstar.errors import InvalidInput


@dataclass(frozen=True)
class FlowOptions:
    """Settings of the training of one T.

    couplings, hidden: number of coupling layers and width of their networks.
    steps, batch: gradient steps, and codes per step; all pairs of a batch count.
    rate, weight_decay: AdamW's peak rate, falling as a cosine to 0, and its decay.
    distance_weight: λ_d of eq. 3, for distances in units of the mean perceptual distance.
    identity_weight, identity_batch, noise: λ_ID and the codes per step of eq. 4, and the standard
    deviation τ of its ε; a weight of 0 leaves eq. 3.
    scale_weight: weight of the mean of s², which keeps the inverse well conditioned in fp32.
    validate_every: steps between validations; the best validated T is kept.
    patience: validations without improvement after which training stops.
    """

    couplings: int
    steps: int
    hidden: int = 128
    batch: int = 128
    rate: float = 3e-3
    weight_decay: float = 0.1
    distance_weight: float = 30.0
    identity_weight: float = 0.0
    identity_batch: int = 16
    noise: float = 0.1
    scale_weight: float = 1.0
    validate_every: int = 200
    patience: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        for name in ("couplings", "steps", "hidden", "validate_every", "patience"):
            if getattr(self, name) < 1:
                raise InvalidInput(name, getattr(self, name), "1 or more")
        if self.batch < 2:
            raise InvalidInput("batch", self.batch, "2 or more: the loss counts pairs")
