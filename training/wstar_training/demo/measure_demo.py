"""What is measured of a demo world alone: how well its codes hold the faces they were made from."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from wstar_training.demo.autoencoder import psnr_each
from wstar_training.demo.train_demo import World
from wstar_training.evaluation.space import over_faces
from wstar_training.learning.codes import compose, over_batches, regenerated


def reconstruction(world: World) -> dict[str, Any]:
    """PSNR, and what the referee sees in held-out pictures and in their reconstructions."""
    test, referee = world.pictures("test"), world.referee
    rebuilt = regenerated(world.autoencoder.generator, world.codes.w["test"])
    given = over_batches(len(test), compose(referee, test.batch)).numpy() > 0
    again = over_batches(len(test), compose(referee, rebuilt)).numpy() > 0
    return {
        "psnr_db": asdict(over_faces(psnr_each(world.autoencoder, test, len(test)))),
        "referee_on_pictures": asdict(over_faces((given == test.attributes).mean(1))),
        "referee_on_reconstructions": asdict(over_faces((again == test.attributes).mean(1))),
        "referee_agreement": asdict(over_faces((given == again).mean(1))),
    }
