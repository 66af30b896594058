"""Every way to edit, tried on every attribute."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from wstar_training.editing.edits import EditSpace, held, stepped, targeted
from wstar_training.editing.findings import AGREEMENT, MATRIX_STEP, Findings, Way
from wstar_training.editing.studio import Studio
from wstar_training.editing.sweep import Pool, faces_to_edit, sit, sweep

# Strengths at which swept attributes are edited: steps in standard deviations of the codes along
# the normal, and probabilities. Others get those that fill the matrices and the agreement.
STEPS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
PROBABILITIES = (0.1, 0.5, 0.8, 0.9, 0.97, 0.99, 0.999)


def ways_of(spaces: Mapping[str, EditSpace], pool: Pool) -> list[Way]:
    """Steps, targeted edits and targeted edits that hold the rest, in every space."""
    ways = []
    for name, space in spaces.items():
        step = stepped(space.spread(pool.w))
        ways += [
            Way(name, "step", step, STEPS, (MATRIX_STEP,)),
            Way(name, "targeted", targeted, PROBABILITIES, AGREEMENT),
            Way(name, "held", held, PROBABILITIES, ()),
        ]
    return ways


def tried(
    studio: Studio,
    spaces: Mapping[str, EditSpace],
    pool: Pool,
    faces: int,
    attributes: Sequence[str],
    swept: Sequence[str],
) -> dict[str, Any]:
    """Edit some faces of the pool in every attribute and every way.

    Parameters
    ----------
    faces: edited of each attribute. attributes: those that are edited. swept: those that are
        edited at every strength, and compared at equal achieved change.
    """
    ways = ways_of(spaces, pool)
    findings = Findings(ways)
    without = []
    for number, name in enumerate(attributes, start=1):
        rows = faces_to_edit(pool, name, faces)
        print(f"edits: {name}, {number} of {len(attributes)}", file=sys.stderr, flush=True)
        if not len(rows):
            without.append(name)
            continue
        sitting = sit(studio, pool, name, rows)
        seen = {}
        for way in ways:
            space, strengths = spaces[way.space], way.strengths if name in swept else way.others
            if not strengths:
                continue
            seen[way.name] = sweep(studio, sitting, space, way.edit, strengths)
            if name in space.told:
                findings.add(way, sitting, seen[way.name])
        if name in swept:
            findings.compare(sitting, seen)
    return {"without_faces": without, **findings.tables(len(pool.w))}
