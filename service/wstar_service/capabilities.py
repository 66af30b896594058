"""What a server can do with the graphs it has: all calls but `edit` without a generator."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from wstar.errors import RunnerUnavailable
from wstar_service.contract import OPTIONAL_GRAPH

EMBED, DISTANCE, CLASSIFY, EDIT = "embed", "distance", "classify", "edit"

# Beside encoder, flows, inverses and classifiers, without which no runner opens.
_NEEDED: Mapping[str, tuple[str, ...]] = {
    EMBED: (),
    DISTANCE: (),
    CLASSIFY: (),
    EDIT: (OPTIONAL_GRAPH,),
}
ALL = tuple(_NEEDED)


def served(graphs: Collection[str]) -> tuple[str, ...]:
    """Return what can be done with these graphs: of embed, distance, classify, edit, in order."""
    return tuple(
        name for name, needed in _NEEDED.items() if all(graph in graphs for graph in needed)
    )


def check_served(capability: str, capabilities: Collection[str]) -> None:
    """Refuse what this server cannot do: RunnerUnavailable, naming the missing graph."""
    if capability not in capabilities:
        raise RunnerUnavailable(
            f"{capability}: this server has no {' or '.join(_NEEDED[capability])} graph; "
            f"it serves {', '.join(capabilities)}"
        )
