"""The StyleGAN2 generator (Karras et al. 2020): skip architecture, W+ in, picture out.

Module names are those of the published `.pt` files, so that a state dict loads as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from wstar.errors import CheckpointError, InvalidInput
from wstar.graphs import W_DIM, n_latent
from wstar_training.models.mapping import MappingNetwork, truncated
from wstar_training.models.ops import ConstantInput, StyledConv, ToRGB

NoiseChoice = Literal["const", "none", "random"]
NOISE_CHOICES: tuple[NoiseChoice, ...] = get_args(NoiseChoice)

# Codes that `estimate_mean_w` maps at once.
_DRAWS = 4096
# Bounds of what a state dict may say: 1024 px, and far more channels than any model has.
_MOST_STAGES = 8
_WIDEST = 65536


def channels_of(resolution: int, multiplier: int = 2) -> dict[int, int]:
    """Channels by side in px as published: 512 up to 32 px, then halved with each doubling."""
    return {side: min(512, 16384 * multiplier // side) for side in _sides(resolution)}


def _sides(resolution: int) -> list[int]:
    return [2**level for level in range(2, int(math.log2(resolution)) + 1)]


class Generator(nn.Module):
    """G: W+ codes (N, n, w_dim) to pictures (N, 3, R, R), nominally in [-1, 1], not clamped.

    Parameters
    ----------
    resolution: side R of the picture in px, a power of two, 8 to 1024.
    channels: channels by side in px, for 4, 8, ... R.
    noise_per_channel: False, one noise map per layer as in StyleGAN2; True, one per channel;
        None, no stored maps. Maps are parameters: published ones are loaded, those of the demo
        world are learned.
    w_dim: width of a row of w.
    style: the mapping network, None for a generator of codes only.
    conv_clamp: bound of every convolution's activation and of every ToRGB's picture, None for
        none (StyleGAN2-ADA, models trained in mixed precision).

    Attributes
    ----------
    mean_w: the mean of w, float32 (w_dim,) or (n, w_dim); None if unknown.
    noise: what `forward` does about noise if its caller does not say: "const" adds the stored
        maps, "random" fresh ones, "none" none.
    """

    mean_w: Tensor | None

    def __init__(
        self,
        resolution: int,
        channels: Mapping[int, int],
        noise_per_channel: bool | None = False,
        w_dim: int = W_DIM,
        style: MappingNetwork | None = None,
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.n_latent = n_latent(resolution)
        self.w_dim = w_dim
        self.conv_clamp = conv_clamp
        self.noise: NoiseChoice = "const"
        # No part of the state dict: published files hold it elsewhere, if at all.
        self.register_buffer("mean_w", None, persistent=False)
        sides = _sides(resolution)
        self.style = style
        self.input = ConstantInput(channels[4])
        self.conv1 = StyledConv(channels[4], channels[4], w_dim, upsample=False)
        self.to_rgb1 = ToRGB(channels[4], w_dim, upsample=False)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for before, side in pairwise(sides):
            into, out = channels[before], channels[side]
            self.convs.append(StyledConv(into, out, w_dim, upsample=True))
            self.convs.append(StyledConv(out, out, w_dim, upsample=False))
            self.to_rgbs.append(ToRGB(out, w_dim, upsample=True))
        layer_sides = [4] + [side for side in sides[1:] for _ in range(2)]
        self.noises = nn.ParameterDict()
        if noise_per_channel is not None:
            for index, side in enumerate(layer_sides):
                maps = channels[side] if noise_per_channel else 1
                self.noises[f"noise_{index}"] = nn.Parameter(torch.randn(1, maps, side, side))

    def forward(self, w: Tensor, noise: NoiseChoice | None = None) -> Tensor:
        """Render w float32 (N, n, w_dim), W+, or (N, w_dim), to float32 (N, 3, R, R).

        Raises
        ------
        InvalidInput: w of another shape, an unknown kind of noise, or stored noise that the
        generator has not.
        """
        w = self._rows("w", w)
        noise = self.noise if noise is None else noise
        if noise not in NOISE_CHOICES:
            raise InvalidInput("noise", noise, f"one of {', '.join(NOISE_CHOICES)}")
        if noise == "const" and not self.noises:
            raise InvalidInput("noise", noise, "none or random: the file stores no noise maps")
        clamp = self.conv_clamp
        x = self.input.input.expand(w.shape[0], -1, -1, -1)
        if x.device.type == "cpu":
            # Convolutions on CPUs work on channels last and would turn every picture twice.
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.conv1(x, w[:, 0], self._noise(noise, 0, x), clamp)
        picture: Tensor = self.to_rgb1(x, w[:, 1], None, clamp)
        for stage, to_rgb in enumerate(self.to_rgbs):
            first = 2 * stage + 1
            for layer in (first, first + 1):
                x = self.convs[layer - 1](x, w[:, layer], self._noise(noise, layer, x), clamp)
            picture = to_rgb(x, w[:, first + 2], picture, clamp)
        return picture

    def mapping(
        self,
        z: Tensor,
        psi: float = 1.0,
        cutoff: int | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Map z float32 (N, z_dim) to w float32 (N, n, w_dim), rows equal but for the cutoff.

        Parameters
        ----------
        psi: truncation, w̄ + ψ(w - w̄); 1 leaves w as it is.
        cutoff: how many first rows are truncated, None for all.
        labels: float32 (N, c), for conditional models only.

        Raises
        ------
        InvalidInput: a value outside what is said here, no mapping network, or psi other than 1
        without a mean.
        """
        if self.style is None:
            raise InvalidInput("z", tuple(z.shape), "none: the generator has no mapping network")
        if cutoff is not None and not 0 <= cutoff <= self.n_latent:
            raise InvalidInput("cutoff", cutoff, f"0 to {self.n_latent}, or None")
        if not math.isfinite(psi):
            raise InvalidInput("psi", psi, "a finite number")
        w: Tensor = self.style(z, labels)[:, None].repeat(1, self.n_latent, 1)
        if psi == 1.0:
            return w
        if self.mean_w is None:
            raise InvalidInput(
                "psi",
                psi,
                "1: the file stores no mean of w; estimate_mean_w(samples, seed) sets one",
            )
        return truncated(w, self.mean_w, psi, cutoff)

    @torch.no_grad()
    def estimate_mean_w(self, samples: int, seed: int) -> None:
        """Set `mean_w` to the mean of `samples` mapped draws of z, a function of the seed.

        Labels of a conditional model are drawn too, each class as often as any other.

        Raises
        ------
        InvalidInput: samples below 1, or no mapping network.
        """
        if self.style is None:
            raise InvalidInput("samples", samples, "none: the generator has no mapping network")
        if samples < 1:
            raise InvalidInput("samples", samples, "at least 1")
        random = torch.Generator().manual_seed(seed)
        device = self.input.input.device
        total = torch.zeros(self.w_dim, dtype=torch.float64, device=device)
        for first in range(0, samples, _DRAWS):
            count = min(_DRAWS, samples - first)
            z = torch.randn(count, self.style.z_dim, generator=random)
            labels = None
            if self.style.labels:
                classes = torch.randint(self.style.labels, (count,), generator=random)
                labels = functional.one_hot(classes, self.style.labels).float().to(device)
            total += self.style(z.to(device), labels).double().sum(0)
        self.mean_w = (total / samples).float()

    def style_mix(self, first: Tensor, second: Tensor, index: int) -> Tensor:
        """Rows 0 to index - 1 of the first codes, the others of the second: (N, n, w_dim).

        Raises
        ------
        InvalidInput: codes that are neither (N, n, w_dim) nor (N, w_dim), two numbers of codes,
        or an index outside 0 to n.
        """
        first, second = self._rows("first", first), self._rows("second", second)
        if len(first) != len(second):
            raise InvalidInput(
                "second", tuple(second.shape), f"as many codes as first: {len(first)}"
            )
        if not 0 <= index <= self.n_latent:
            raise InvalidInput("index", index, f"0 to {self.n_latent}")
        return torch.cat([first[:, :index], second[:, index:]], dim=1)

    def _rows(self, field: str, w: Tensor) -> Tensor:
        """Codes (N, n, w_dim) as they are; one row per code (N, w_dim) n times."""
        if w.ndim == 2 and w.shape[1] == self.w_dim:
            return w[:, None].expand(-1, self.n_latent, -1)
        if w.ndim != 3 or w.shape[1:] != (self.n_latent, self.w_dim):
            raise InvalidInput(
                field,
                tuple(w.shape),
                f"shape (N, {self.n_latent}, {self.w_dim}) or (N, {self.w_dim})",
            )
        return w

    def _noise(self, noise: NoiseChoice, layer: int, x: Tensor) -> Tensor | None:
        """The noise of a layer: (1 or N, 1 or C, side, side), or None."""
        if noise == "const":
            stored: Tensor = self.noises[f"noise_{layer}"]
            return stored
        if noise == "none":
            return None
        side = 2 ** ((layer + 5) // 2)
        return torch.randn(x.shape[0], 1, side, side, dtype=x.dtype, device=x.device)


def generator_like(
    state: Mapping[str, Tensor], named: Callable[[str], str] = "generator: {}".format
) -> Generator:
    """A generator of the resolution, widths and kind of noise that a state dict's shapes say.

    Parameters
    ----------
    state: key to tensor, in the module's names.
    named: what a message calls a key.

    Raises
    ------
    CheckpointError: a shape that decides is missing or impossible; names key, expected, found.
    """
    stages = _count(state, "to_rgbs.")
    if not 0 < stages <= _MOST_STAGES:
        key = named(f"to_rgbs.{min(stages, _MOST_STAGES)}.conv.weight")
        raise CheckpointError(f"{key}: expected 1 to {_MOST_STAGES} of its kind, found {stages}")
    channels = {4: _shape(state, "input.input", 4, named)[1]}
    for stage in range(stages):
        key = f"convs.{2 * stage}.activate.bias"
        channels[2 ** (stage + 3)] = _shape(state, key, 1, named)[0]
    noise_per_channel = None
    if stored := sorted(key for key in state if key.startswith("noises.")):
        noise_per_channel = _shape(state, stored[0], 4, named)[1] > 1
    w_dim = _shape(state, "conv1.conv.modulation.weight", 2, named)[1]
    style = _style_like(state, named) if _count(state, "style.") else None
    return Generator(2 ** (stages + 2), channels, noise_per_channel, w_dim, style)


def generator_from_state(state: Mapping[str, Tensor]) -> Generator:
    """Rebuild a generator from its state dict alone, in evaluation mode.

    Raises
    ------
    CheckpointError: a tensor is missing, unknown or of another shape.
    """
    generator = generator_like(state)
    try:
        generator.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"generator: {error}") from error
    return generator.eval().requires_grad_(False)


def _style_like(state: Mapping[str, Tensor], named: Callable[[str], str]) -> MappingNetwork:
    embedding, labels = 0, 0
    if "style.embed.weight" in state:
        embedding, labels = _shape(state, "style.embed.weight", 2, named)
    depth = max(1, _count(state, "style.") - (labels > 0))
    shapes = [_shape(state, f"style.{i}.weight", 2, named) for i in range(1, depth + 1)]
    z_dim = shapes[0][1] - embedding
    if z_dim < 1:
        key = named("style.1.weight")
        raise CheckpointError(f"{key}: expected more than {embedding} columns, found {shapes[0]}")
    return MappingNetwork(z_dim, [out for out, _ in shapes], labels, embedding)


def _shape(
    state: Mapping[str, Tensor], key: str, rank: int, named: Callable[[str], str]
) -> Sequence[int]:
    """The shape of a tensor that decides about the others."""
    found = tuple(state[key].shape) if key in state else None
    if found is None or len(found) != rank or not all(0 < side <= _WIDEST for side in found):
        raise CheckpointError(
            f"{named(key)}: expected {rank} dimensions of 1 to {_WIDEST}, "
            f"found {'nothing' if found is None else found}"
        )
    return found


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many modules or parameters of a list there are under `prefix`."""
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})
