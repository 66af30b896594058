"""ArcFace on IR-SE-50 (Deng et al. 2019): the identity network of the pSp family."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from wstar.errors import InvalidInput
from wstar_training.models.irse import DEPTH, IRSE50

_PICTURE = 256
# The face itself, in a picture of 256 px aligned as FFHQ's are: 188x188 px.
_ROWS, _COLUMNS = slice(35, 223), slice(32, 220)
_FACE = 112
# Side of the features of a face, and of what `output_layer` flattens.
_FEATURES = 7
EMBEDDING = 512


class ArcFace(IRSE50):
    """Pictures to unit vectors: their inner product says how alike two faces are.

    affine: whether the last batch norm has a scale and an offset; published files come both ways.
    """

    def __init__(self, affine: bool = True) -> None:
        super().__init__()
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(DEPTH),
            nn.Dropout(0.6),
            nn.Flatten(),
            nn.Linear(DEPTH * _FEATURES * _FEATURES, EMBEDDING),
            nn.BatchNorm1d(EMBEDDING, affine=affine),
        )

    def forward(self, picture: Tensor) -> Tensor:
        """Unit vectors float32 (N, 512) of pictures float32 (N, 3, S, S), RGB in [-1, 1].

        The pictures are aligned as FFHQ's are; any S is averaged to 256 px, cropped to the face
        and averaged to 112 px.

        Raises
        ------
        InvalidInput: the pictures are not square, or not of three channels.
        """
        if picture.dim() != 4 or picture.shape[1] != 3 or picture.shape[2] != picture.shape[3]:
            raise InvalidInput("picture", tuple(picture.shape), "(N, 3, S, S)")
        if picture.shape[2] != _PICTURE:
            picture = functional.adaptive_avg_pool2d(picture, _PICTURE)
        face = functional.adaptive_avg_pool2d(picture[:, :, _ROWS, _COLUMNS], _FACE)
        _, _, features = self.levels(face)
        return functional.normalize(self.output_layer(features))
