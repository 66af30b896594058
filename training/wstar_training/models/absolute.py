"""E as the rest of the system sees it: a picture to its absolute W+ code, mean code added."""

from __future__ import annotations

from torch import Tensor, nn

from wstar.errors import InvalidInput

FACES = (256, 256)


class Encoder(nn.Module):
    """E(x) = network(x) + mean.

    The mean is part of the state dict, so that a hash of the weights covers it.

    Parameters
    ----------
    network: pictures float32 (N, 3, H, W) in [-1, 1] to codes (N, n, 512) relative to the mean.
    mean: float32 (n, 512), the mean code in W+; zeros for a network whose codes are absolute.
    input_size: height and width of the pictures in px.
    """

    mean: Tensor

    def __init__(
        self, network: nn.Module, mean: Tensor, input_size: tuple[int, int] = FACES
    ) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)
        self.input_size = input_size
        self.n_latent = len(mean)

    @property
    def side(self) -> int:
        """The longer side of the pictures it takes, in px."""
        return max(self.input_size)

    @property
    def resolution(self) -> int:
        """Side of the pictures that the generator draws from its codes, in px."""
        return int(2 ** (self.n_latent // 2 + 1))

    def forward(self, picture: Tensor) -> Tensor:
        """Absolute W+ codes float32 (N, n, 512) of pictures float32 (N, 3, H, W) in [-1, 1].

        Raises
        ------
        InvalidInput: the pictures are of another size or type.
        """
        wanted = (3, *self.input_size)
        if picture.dim() != 4 or picture.shape[1:] != wanted or picture.dtype != self.mean.dtype:
            sizes = ", ".join(map(str, wanted))
            raise InvalidInput(
                "picture",
                (str(picture.dtype), tuple(picture.shape)),
                f"{self.mean.dtype} (N, {sizes})",
            )
        w: Tensor = self.network(picture) + self.mean
        return w
