"""Pictures that went through all graphs of a space and back, against torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from wstar.attributes import ATTRIBUTES
from wstar.graphs import Space, flow, flow_inverse
from wstar_export.assembly import Graph
from wstar_export.findings import Finding, picture_findings
from wstar_export.run import Run
from wstar_export.session import Session, by_torch, parts_of
from wstar_export.tolerances import BOUNDS, Precision

_FACES = 8


def whole_way(
    run: Run, graphs: Mapping[str, Graph], sessions: Mapping[str, Session]
) -> list[Finding]:
    """Picture to code, through each space and back, to a picture: all graphs against torch.

    Behind an encoder in int8, whose codes are a space of their own, torch starts from its codes.
    """
    encoder, generator = sessions["encoder"], sessions["generator"]
    pictures = np.asarray(run.pictures[:_FACES])
    parts = parts_of(pictures, graphs["encoder"].spec)
    w = wanted_w = np.concatenate([encoder.run(part)[0] for part in parts])
    judging = [generator.precision]
    if encoder.precision is not Precision.INT8:
        judging.append(encoder.precision)
        (wanted_w,) = by_torch(graphs["encoder"].reference, [pictures])
    encoder.close()
    bounds = max((BOUNDS[precision] for precision in judging), key=lambda b: b.whole_way)
    bounds = replace(bounds, changed=bounds.whole_way)
    findings: list[Finding] = []
    none = np.zeros((len(w), len(ATTRIBUTES)), np.float32)
    for space in Space:
        forward, inverse = flow(space, run.resolution), flow_inverse(space, run.resolution)
        (back,) = sessions[inverse.name].run(sessions[forward.name].run(w)[0], none)
        w_star, _ = by_torch(graphs[forward.name].reference, [wanted_w])
        (wanted_back,) = by_torch(graphs[inverse.name].reference, [w_star, none])
        (wanted,) = by_torch(graphs["generator"].reference, [wanted_back])
        parts = parts_of(back, graphs["generator"].spec)
        got = np.concatenate([generator.run(part)[0] for part in parts])
        findings += picture_findings(inverse.name, "whole_way", wanted, got, Precision.FP32, bounds)
        for name in (forward.name, inverse.name):
            sessions[name].close()
    generator.close()
    return findings
