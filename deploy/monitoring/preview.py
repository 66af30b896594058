"""Draws the panels of `dashboard.json` from a running Prometheus, without Grafana.

    python -m deploy.monitoring.preview --prometheus 127.0.0.1:9090 --minutes 5 --output preview.png

Needs matplotlib. Panels, units, legends and queries are the dashboard's; their look is not.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, PercentFormatter

_DASHBOARD = Path(__file__).with_name("dashboard.json")
_COLUMNS, _POINTS = 3, 120
_UNITS = {"s": "s", "Bps": "B/s", "reqps": "calls/s", "cps": "/s", "short": ""}


def main() -> None:
    """Ask every query over the last minutes and write one picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prometheus", required=True, metavar="HOST:PORT")
    parser.add_argument("--namespace", default="wstar")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.png")
    arguments = parser.parse_args()
    draw(arguments.prometheus, arguments.namespace, arguments.minutes, arguments.output)


def draw(prometheus: str, namespace: str, minutes: float, output: Path) -> None:
    """Draw all panels in rows, in the dashboard's order."""
    panels = [p for p in json.loads(_DASHBOARD.read_text())["panels"] if p["type"] != "row"]
    rows = math.ceil(len(panels) / _COLUMNS)
    figure = Figure(figsize=(6 * _COLUMNS, 3 * rows), layout="constrained")
    axes = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    for panel, axis in zip(panels, axes, strict=False):
        _draw_panel(panel, axis, prometheus, namespace, 60 * minutes)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    figure.savefig(output, dpi=80)


def _draw_panel(
    panel: Mapping[str, Any], axis: Axes, prometheus: str, namespace: str, seconds: float
) -> None:
    axis.set_title(panel["title"], fontsize=10, loc="left")
    lines = []
    for target in panel["targets"]:
        for series in _asked(prometheus, target["expr"], namespace, seconds):
            name = _legend(target["legendFormat"], series["metric"])
            times, values = zip(*((t, float(v)) for t, v in series["values"]), strict=True)
            lines.append((name, [t - time.time() for t in times], values))
    if panel["type"] == "table":
        axis.set_axis_off()
        text = "\n".join(f"{name}: {values[-1]:g}" for name, _, values in lines)
        axis.text(0, 0.9, text, va="top", fontsize=9)
        return
    if not lines:
        axis.text(0.5, 0.5, "no data", ha="center", transform=axis.transAxes, color="grey")
    for name, moments, values in lines:
        axis.plot(moments, values, label=name, linewidth=1.2)
    # A line along 0, or along the largest value, would be hidden by the frame.
    top = max((v for _, _, values in lines for v in values if math.isfinite(v)), default=0.0) or 1.0
    axis.set_ylim(-0.04 * top, 1.1 * top)
    unit = panel["fieldConfig"]["defaults"]["unit"]
    formatter = PercentFormatter(1.0) if unit == "percentunit" else EngFormatter(_UNITS[unit])
    axis.yaxis.set_major_formatter(formatter)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda second, _: f"{second:g} s"))
    axis.tick_params(labelsize=8)
    if 0 < len(lines) <= 14:
        axis.legend(fontsize=7, ncols=2, loc="upper left", framealpha=0.6)


def _asked(prometheus: str, query: str, namespace: str, seconds: float) -> list[dict[str, Any]]:
    """The series of a query over the last seconds."""
    step = max(1.0, seconds / _POINTS)
    window = f"{math.ceil(max(20.0, 4 * step))}s"
    query = query.replace("$namespace", namespace).replace("$__rate_interval", window)
    now = time.time()
    asked = {"query": query, "start": now - seconds, "end": now, "step": step}
    url = f"http://{prometheus}/api/v1/query_range?{urllib.parse.urlencode(asked)}"
    with urllib.request.urlopen(url, timeout=30) as reply:
        found: list[dict[str, Any]] = json.load(reply)["data"]["result"]
    return found


def _legend(template: str, labels: Mapping[str, str]) -> str:
    """Grafana's way of naming a series; a table names it by all its labels."""
    if not template:
        return ", ".join(value for _, value in sorted(labels.items()))
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), template)


if __name__ == "__main__":
    main()
