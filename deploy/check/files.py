"""Files that no tool of this machine reads: they must at least be what they say, whole."""

from __future__ import annotations

from pathlib import Path

import yaml
from deploy.check.outcome import DEPLOY, Outcome, counted, name_of


def check() -> Outcome:
    """Parse every YAML file of this folder; a key that is written twice is a fault."""
    found = sorted((*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.yml")))
    faults = [fault for path in found for fault in _faults(path)]
    return Outcome(counted(found, "YAML file"), faults)


def _faults(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8") as file:
            list(yaml.load_all(file, _Strict))
    except yaml.YAMLError as error:
        return [f"{name_of(path)}: {' '.join(str(error).split())}"]
    return []


class _Strict(yaml.SafeLoader):
    """Refuses a key that is written twice, of which YAML's loader would take the second."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        """Make a mapping, once its keys were compared."""
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"written twice: {', '.join(map(str, twice))}", node.start_mark
            )
        made: dict[object, object] = super().construct_mapping(node, deep)
        return made
