"""`wstar-train flow`: T of a researcher's own files, from codes to what export reads."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from wstar.errors import InvalidInput
from wstar_training.ablation.variants import VARIANTS, variant
from wstar_training.commands.arguments import positive
from wstar_training.learning.config import (
    FlowOptions,
    IdentityTarget,
    Layout,
    Perceptual,
    Precision,
    Schedule,
)
from wstar_training.learning.distributed import joined
from wstar_training.models.flow import Masks
from wstar_training.own.build import build, build_variant
from wstar_training.own.files import Networks, OwnFiles, Settings, Sources
from wstar_training.own.sources import opened

# The paper's sections 4 and 7; λ_ID it does not give.
_COUPLINGS, _ID_COUPLINGS = 13, 3
_IDENTITY_WEIGHT = 1.0
_STEPS, _ID_STEPS = 20_000, 2000
_DEFAULTS = FlowOptions(_COUPLINGS, _STEPS)
_SETTINGS = Settings(_DEFAULTS, _DEFAULTS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `wstar-train flow`."""
    _add_files(parser.add_argument_group("files"))
    _add_losses(parser.add_argument_group("losses"))
    _add_flow(parser.add_argument_group("T and its training"))
    machine = parser.add_argument_group(
        "machine",
        "`torchrun --nproc-per-node N --no-python -- wstar-train flow ...` uses N processes for T "
        "(the -- keeps --run from torchrun); on several machines they share the folder of --run.",
    )
    machine.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="where T trains; all else is made on the CPU (default: cpu)",
    )
    machine.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="threads torch may use (default: one per core)",
    )


def _add_files(files: argparse._ArgumentGroup) -> None:
    for name, metavar, text in (
        ("run", "DIR", "folder for everything made; the same command goes on in it"),
        ("codes", "DIR", "folder written by `wstar-train codes`"),
        ("pictures", "DIR", "folder that the codes were made from"),
        ("attributes", "FILE", "attribute list of CelebA or CelebAMask-HQ"),
        ("encoder", "FILE", "pSp or e4e file that made the codes"),
        ("generator", "FILE", "StyleGAN2, any of its files"),
        ("judge", "FILE", "VGG16 of torchvision, the perceptual judge"),
        ("identity", "FILE", "VGGFace or ArcFace"),
    ):
        files.add_argument(f"--{name}", type=Path, required=True, metavar=metavar, help=text)
    files.add_argument(
        "--lpips",
        type=Path,
        metavar="FILE",
        help="linear layers of LPIPS for VGG16: the judge weighs its channels by them",
    )
    files.add_argument(
        "--identity-referee",
        type=Path,
        metavar="FILE",
        help="another VGGFace or ArcFace, which judges edits and which no loss sees",
    )
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


def _add_losses(losses: argparse._ArgumentGroup) -> None:
    for name, default, text in (
        (
            "lambda-d",
            _DEFAULTS.distance_weight,
            "λ_d of eq. 3, for distances in units of their mean m: 10·m² is the paper's 10",
        ),
        ("lambda-id", _IDENTITY_WEIGHT, "λ_ID of eq. 5; 0 leaves eq. 3"),
        ("tau", _DEFAULTS.noise, "deviation of ε of eq. 4, in units of the codes' own"),
        (
            "scale-weight",
            _DEFAULTS.scale_weight,
            "of the mean of s², which the paper does not have: it keeps T⁻¹ exact in float32",
        ),
    ):
        _number(losses, name, default, text)
    _count(losses, "identity-batch", _DEFAULTS.identity_batch, "codes per step that eq. 4 disturbs")
    _choice(
        losses,
        "identity-target",
        get_args(IdentityTarget),
        "left side of eq. 4: F of the regenerated picture, or of the one that was given",
    )
    _choice(
        losses,
        "perceptual",
        get_args(Perceptual),
        "distances that T learns: of sketches, made once per picture, or exact ones, by VGG16 at "
        "every step and hundreds of times slower",
    )
    _count(losses, "perceptual-side", 256, "px that pictures are reduced to for VGG16")
    losses.add_argument(
        "--perceptual-scale",
        type=_scale,
        default=_SETTINGS.perceptual_scale,
        metavar="X|match",
        help="factor of perceptual distances; match: such that those of W+ have their mean "
        f"(default: {_SETTINGS.perceptual_scale}, the paper's)",
    )
    _count(losses, "sketch", _SETTINGS.sketch, "numbers kept of what VGG16 sees in a picture")


def _add_flow(flow: argparse._ArgumentGroup) -> None:
    flow.add_argument(
        "--layout",
        choices=("rows", "principal", "flat"),
        help="what the couplings act on: the 512 numbers of each row, principal axes of the codes, "
        "or all numbers of a code at once (default: rows; principal with --axes)",
    )
    flow.add_argument("--axes", type=positive, metavar="R", help="how many principal axes")
    _count(flow, "hidden", _DEFAULTS.hidden, "width of the networks s and t")
    _choice(
        flow,
        "masks",
        get_args(Masks),
        "of the couplings: halves drawn at random, each followed by its complement, or even and "
        "odd coordinates in turn",
    )
    flow.add_argument("--tanh-t", action="store_true", help="bound t to [-1, 1], as s is")
    _count(flow, "steps", _STEPS, "steps of T of W_STAR, 13 couplings (eq. 3)")
    _count(flow, "id-steps", _ID_STEPS, "steps of T of W_STAR_ID, 3 couplings (eq. 5)")
    _count(flow, "batch", _DEFAULTS.batch, "codes per step; all their pairs count")
    _number(flow, "rate", _DEFAULTS.rate, "learning rate of Adam, its peak")
    flow.add_argument(
        "--id-rate", type=float, metavar="X", help="that of W_STAR_ID (default: as --rate)"
    )
    _choice(flow, "schedule", get_args(Schedule), "how the rate goes on; a cosine falls to 0")
    _count(flow, "warmup", _DEFAULTS.warmup, "steps in which it rises to its peak", int)
    _number(flow, "weight-decay", _DEFAULTS.weight_decay, "of AdamW")
    _count(flow, "validate-every", _DEFAULTS.validate_every, "steps between validations")
    _count(flow, "patience", _DEFAULTS.patience, "validations without a better one that stop it")
    _count(flow, "save-every", _DEFAULTS.save_every, "steps between states to go on from")
    _number(flow, "ema", _DEFAULTS.ema, "decay per step of the average of the weights; 0: none")
    _choice(flow, "precision", get_args(Precision), "in which s and t compute while T trains")
    flow.add_argument(
        "--compile", action="store_true", help="train through torch.compile (slower on CPUs)"
    )
    _count(flow, "seed", _DEFAULTS.seed, "of weights, masks and batches", int)
    flow.add_argument(
        "--variant",
        choices=[one.name for one in VARIANTS],
        help="train only this variant, into RUN/ablation, where `ablate` reads it: "
        + "; ".join(f"{one.name}, {one.says}" for one in VARIANTS),
    )


def _count(
    group: argparse._ArgumentGroup,
    name: str,
    default: int,
    text: str,
    kind: Callable[[str], int] = positive,
) -> None:
    text = f"{text} (default: {default})"
    group.add_argument(f"--{name}", type=kind, default=default, metavar="N", help=text)


def _number(group: argparse._ArgumentGroup, name: str, default: float, text: str) -> None:
    text = f"{text} (default: {default:g})"
    group.add_argument(f"--{name}", type=float, default=default, metavar="X", help=text)


def _choice(group: argparse._ArgumentGroup, name: str, choices: tuple[str, ...], text: str) -> None:
    text = f"{text} (default: {choices[0]})"
    group.add_argument(f"--{name}", choices=choices, default=choices[0], help=text)


def _scale(text: str) -> float | Literal["match"]:
    if text == "match":
        return "match"
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: a number, or match") from None


def study(options: argparse.Namespace) -> OwnFiles:
    """What the options describe."""
    common = replace(
        _DEFAULTS,
        steps=options.steps,
        hidden=options.hidden,
        masks=options.masks,
        tanh_t=options.tanh_t,
        batch=options.batch,
        rate=options.rate,
        weight_decay=options.weight_decay,
        schedule=options.schedule,
        warmup=options.warmup,
        ema=options.ema,
        precision=options.precision,
        compile=options.compile,
        distance_weight=options.lambda_d,
        perceptual=options.perceptual,
        scale_weight=options.scale_weight,
        validate_every=options.validate_every,
        save_every=options.save_every,
        patience=options.patience,
        seed=options.seed,
    )
    settings = Settings(
        flow=common,
        flow_id=replace(
            common,
            couplings=_ID_COUPLINGS,
            steps=options.id_steps,
            rate=options.rate if options.id_rate is None else options.id_rate,
            identity_weight=options.lambda_id,
            identity_batch=options.identity_batch,
            identity_target=options.identity_target,
            noise=options.tau,
        ),
        perceptual_side=options.perceptual_side,
        perceptual_scale=options.perceptual_scale,
        sketch=options.sketch,
        layout=_layout(options.layout, options.axes),
    )
    networks = Networks(
        options.encoder, options.generator, options.judge, options.identity, options.lpips
    )
    sources = Sources(
        options.codes,
        options.pictures,
        options.attributes,
        options.landmarks,
        options.mapping,
        options.partition,
    )
    return opened(options.run, networks, settings, sources, options.identity_referee)


def _layout(name: str | None, axes: int | None) -> Layout:
    if axes is not None:
        if name not in (None, "principal"):
            raise InvalidInput("axes", axes, f"none with the layout {name}")
        return axes
    if name == "principal":
        raise InvalidInput("axes", None, "a number with the layout principal")
    return "flat" if name == "flat" else "rows"


def run(options: argparse.Namespace) -> int:
    """Carry out the command."""
    with joined(options.device) as group:
        made = replace(study(options), group=group)
        left_out = made.labelled.unlabelled
        if left_out and group.first:
            count = len(made.encoded.files)
            print(
                f"{len(left_out)} of {count} pictures have no labels: left out, such as "
                f"{left_out[0]}"
            )
        if options.variant is not None:
            folder = build_variant(made, variant(options.variant))
            done = f"variant {options.variant} complete: {folder}"
        else:
            build(made)
            done = f"T complete: {made.run}; next: wstar-export repository --run {made.run}"
        if group.first:
            print(done)
    return 0
