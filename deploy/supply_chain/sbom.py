"""The bill of materials of the service's image, as CycloneDX: `python -m deploy.supply_chain.sbom`.

Python packages, from constraints.txt, the project's extras and what installed packages say. No
time and no serial number: the same pins give the same bytes.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from deploy.supply_chain.packages import PROJECT, Package, image_packages

FILE = Path(__file__).with_name("sbom.cdx.json")
SPEC_VERSION = "1.6"
# One identifier, as MIT-CMU or BSD-3-Clause; two words or more are an expression or no SPDX.
_ONE_ID = re.compile(r"[A-Za-z0-9.+-]+")
_EXPRESSION = re.compile(r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)+")


def text() -> str:
    """Write the document."""
    found = image_packages()
    document = {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "version": 1,
        "metadata": {"component": {**_named(found[PROJECT]), "type": "application"}},
        "components": [
            {**_named(package), "type": "library", **_licensed(package)}
            for name, package in found.items()
            if name != PROJECT
        ],
        "dependencies": [
            {"ref": package.purl, "dependsOn": [found[name].purl for name in package.needs]}
            for package in found.values()
        ],
    }
    return json.dumps(document, indent=1) + "\n"


def main() -> int:
    """Write the file; exit code 0."""
    FILE.write_text(text(), encoding="utf-8")
    print(FILE)
    return 0


def _named(package: Package) -> dict[str, Any]:
    return {
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
    }


def _licensed(package: Package) -> dict[str, Any]:
    licence = package.licence or ""
    if _EXPRESSION.fullmatch(licence):
        return {"licenses": [{"expression": licence}]}
    key = "id" if _ONE_ID.fullmatch(licence) else "name"
    return {"licenses": [{"license": {key: licence}}]}


if __name__ == "__main__":
    sys.exit(main())
