"""`wstar-train flow`: T of a researcher's own files, from codes to what export reads."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from wstar.errors import InvalidInput
from wstar_training.arguments import positive
from wstar_training.config import FlowOptions
from wstar_training.data.attributes import read_attributes
from wstar_training.data.celeba_hq import read_hq_mapping
from wstar_training.data.labels import (
    Labels,
    celeba_hq_labels,
    celeba_labels,
    celeba_mask_labels,
    hq_number,
)
from wstar_training.data.partition import drawn_partition, read_partition
from wstar_training.encoding.landmarks import read_landmarks
from wstar_training.encoding.manifest import read_codes
from wstar_training.own_files import Networks, OwnFiles, Settings, build

# The paper's section 7.1; λ_ID it does not give.
_RATE = 1e-4
_DISTANCE_WEIGHT = 10.0
_IDENTITY_WEIGHT = 1.0
_COUPLINGS, _ID_COUPLINGS = 13, 3
_HIDDEN = 512


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `wstar-train flow`."""
    files = parser.add_argument_group("files")
    for name, metavar, text in (
        ("run", "DIR", "folder for everything made; the same command goes on in it"),
        ("codes", "DIR", "folder written by `wstar-train codes`"),
        ("pictures", "DIR", "folder that the codes were made from"),
        ("attributes", "FILE", "attribute list of CelebA or CelebAMask-HQ"),
        ("encoder", "FILE", "pSp or e4e file that made the codes"),
        ("generator", "FILE", "StyleGAN2, any of its files"),
        ("perceptual", "FILE", "VGG16 of torchvision"),
        ("identity", "FILE", "VGGFace or ArcFace"),
    ):
        files.add_argument(f"--{name}", type=Path, required=True, metavar=metavar, help=text)
    files.add_argument(
        "--landmarks", type=Path, metavar="FILE.json", help="those that the codes were made with"
    )
    files.add_argument(
        "--mapping",
        type=Path,
        metavar="FILE",
        help="CelebA-HQ-to-CelebA-mapping.txt, for pictures of CelebA-HQ or CelebAMask-HQ",
    )
    files.add_argument(
        "--partition",
        type=Path,
        metavar="FILE",
        help="list_eval_partition.txt: T learns on its training part, the read-outs on its "
        "validation part, export measures on its test part (default: three fifths, one fifth and "
        "one fifth, drawn)",
    )
    flow = parser.add_argument_group("training")
    for name, default, text in (
        ("steps", 20_000, "steps of T of W_STAR, 13 couplings (eq. 3)"),
        ("id-steps", 2000, "steps of T of W_STAR_ID, 3 couplings (eq. 5)"),
        ("batch", 32, "codes per step; all their pairs count"),
        ("identity-batch", 1, "codes per step that are drawn for the identity loss"),
        ("hidden", _HIDDEN, "width of the networks s and t"),
        ("perceptual-side", 256, "px that pictures are reduced to for VGG16"),
    ):
        flow.add_argument(
            f"--{name}",
            type=positive,
            default=default,
            metavar="N",
            help=f"{text} (default: {default})",
        )
    flow.add_argument(
        "--axes",
        type=positive,
        metavar="R",
        help="principal axes of the codes that T acts on (default: the 512 numbers of each row)",
    )
    flow.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="threads torch may use (default: one per core)",
    )


def study(options: argparse.Namespace) -> OwnFiles:
    """What the options describe."""
    encoded = read_codes(options.codes)
    landmarks = None if options.landmarks is None else read_landmarks(options.landmarks)
    found = None if landmarks is None else landmarks.sha256
    if found != encoded.landmarks_sha256:
        raise InvalidInput("landmarks", found, f"those of the codes: {encoded.landmarks_sha256}")
    common = FlowOptions(
        couplings=_COUPLINGS,
        steps=options.steps,
        hidden=options.hidden,
        batch=options.batch,
        rate=_RATE,
        weight_decay=0.0,
        distance_weight=_DISTANCE_WEIGHT,
    )
    settings = Settings(
        flow=common,
        flow_id=replace(
            common,
            couplings=_ID_COUPLINGS,
            steps=options.id_steps,
            identity_weight=_IDENTITY_WEIGHT,
            identity_batch=options.identity_batch,
        ),
        perceptual_side=options.perceptual_side,
        axes=options.axes,
    )
    return OwnFiles(
        run=options.run,
        networks=Networks(options.encoder, options.generator, options.perceptual, options.identity),
        settings=settings,
        encoded=encoded,
        pictures=options.pictures,
        landmarks=landmarks,
        labelled=_labels(encoded.files, options),
    )


def _labels(files: list[str], options: argparse.Namespace) -> Labels:
    """Join the pictures with the lists that are given."""
    table = read_attributes(options.attributes)
    mapping = None if options.mapping is None else read_hq_mapping(options.mapping)
    if options.partition is not None:
        partition = read_partition(options.partition)
    elif mapping is None:
        partition = drawn_partition(files)
    else:
        originals = (
            mapping.originals.get(number) for number in map(hq_number, files) if number is not None
        )
        partition = drawn_partition([name for name in originals if name is not None])
    if mapping is None:
        return celeba_labels(files, table, partition)
    join = celeba_hq_labels if hq_number(table.names[0]) is None else celeba_mask_labels
    return join(files, table, partition, mapping)


def run(options: argparse.Namespace) -> int:
    """Carry out the command."""
    made = study(options)
    if left_out := made.labelled.unlabelled:
        count = len(made.encoded.files)
        print(
            f"{len(left_out)} of {count} pictures have no labels: left out, such as {left_out[0]}"
        )
    build(made)
    print(f"T complete: {made.run}; next: wstar-export repository --run {made.run}")
    return 0
