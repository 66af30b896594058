"""Measured figures as people read them: a table, and what each name means."""

from __future__ import annotations

from collections.abc import Sequence

from wstar.tables import table
from wstar_export.findings import Finding

FIGURES = """figures (on this machine's CPU, against torch in fp32):
  ..._error             largest difference, in standard deviations of the output over real faces
  w_rms_error           the same of codes, root of the mean square
  round_trip_error      largest |inverse(flow(w)) - w|, in standard deviations of w
  ..._levels            largest difference of a colour, in levels of 0 to 255
  ..._changed_bytes     fraction of colours that differ
  whole_way_...         of pictures that went through encoder, flow, inverse and generator
  kendall_loss          1 - Kendall's tau of the distances between codes
  top10_loss            fraction of the ten nearest codes that are others
  two_alternative_loss  fraction of triples of faces of which another is the nearer
  half_range_share      largest activation, over the largest number of fp16
  golden_...            distance from the recorded answer, codes in its standard deviations
"""


def figures_table(findings: Sequence[Finding]) -> str:
    """One line per figure, those out of their bound marked."""
    return table(
        ["graph", "precision", "figure", "value", "bound", ""],
        [
            [
                found.graph,
                found.precision,
                found.name,
                f"{found.value:.3g}",
                f"{found.bound:g}",
                "" if found.passed else "OUT OF BOUND",
            ]
            for found in findings
        ],
    )
