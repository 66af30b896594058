"""The page of the demo: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from wstar.info import Info
from wstar_service.demo.findings import Finding

_STYLE = """
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.5rem 4rem; background: #fbfaf7;
  color: #22262b; font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.9rem; margin: 0 0 .2rem; } h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; }
p { max-width: 46rem; } .faint, figcaption { color: #5d636b; font-size: .92rem; }
figure { margin: 0; } img { display: block; width: 100%; height: auto; border-radius: 8px;
  box-shadow: 0 1px 6px rgb(0 0 0 / .16); } figcaption { margin-top: .6rem; max-width: 60rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .88rem; }
th, td { padding: .3rem .8rem .3rem 0; text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; border-bottom: 1px solid #e4e1d9; }
th:first-child, td:first-child { text-align: left; } th { color: #5d636b; font-weight: 600; }
"""
_EDITS = (
    "Each row starts with the picture sent. The groups beside it show the face as the generator "
    "redraws it, then the edit growing to its full strength; the number is the probability of "
    "the attribute. On the left the code moves in W*_ID, on the right the same request moves it "
    "in W+."
)
_NEIGHBOURS = (
    "The five faces nearest to each query, once by plain Euclid in W* and once in W+, with the "
    "squared distance under each. A frame marks a face that only one of the two found."
)


def page(info: Info, edits_png: bytes, neighbours_png: bytes, findings: Sequence[Finding]) -> bytes:
    """Write the page, UTF-8, with both sheets inside."""
    body = [
        "<h1>wstar, the demo world</h1>",
        f"<p class=faint>wstar {escape(info.version)}, {escape(info.runner)}; codes of "
        f"{info.n} x 512, pictures of {info.resolution} px.</p>",
        "<p>Faces drawn by a program, and networks that this repository trained on such faces "
        "from nothing. Everything below was computed a moment ago by <code>wstar-serve</code>, "
        "asked over gRPC. The figures say how the method behaves in this small world, not on "
        "photographs.</p>",
        _figure("Edits", edits_png, _EDITS),
        _figure("Neighbours", neighbours_png, _NEIGHBOURS),
        *map(_table, findings),
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>wstar: demo world</title><style>{_STYLE}</style>"
    )
    text = f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>'
    return text.encode()


def _figure(title: str, png: bytes, caption: str) -> str:
    data = base64.b64encode(png).decode("ascii")
    return (
        f"<h2>{title}</h2><figure>"
        f'<img alt="{title}: {caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _table(finding: Finding) -> str:
    rows = "".join(_row(row, "td") for row in finding.rows)
    return (
        f"<h2>{escape(finding.title)}</h2><p>{escape(finding.seen)}</p>"
        f"<div class=wide><table>{_row(finding.header, 'th')}{rows}</table></div>"
    )


def _row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
