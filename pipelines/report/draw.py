"""Charts as SVG, drawn by Vega-Lite (vl-convert) without a network or a browser.

Colours are left to the page, so that one picture is right in light and in dark: the drawing is made with
colours that stand for the page's variables, and these are put in their place.
"""

from __future__ import annotations

import json
import re
from typing import Any

import polars as pl
import polars.selectors as cs

from pipelines.errors import QueryError
from pipelines.report.spec import Chart

#: More marks are no picture that somebody reads, and make a page slow.
MOST_ROWS = 5000
WIDTH = 680

#: Each stands for a variable of the page's style sheet, and for no colour that is ever drawn.
_INKS = {f"#0000{number:02x}": f"var(--{name})" for number, name in enumerate(("ink", "soft", "line", "line-strong", "paper"), 1)}  # fmt: skip
_HUES = {f"#0001{number:02x}": f"var(--hue-{number})" for number in range(1, 9)}
_STANDS_FOR = re.compile("|".join((*_INKS, *_HUES)))

_INK, _SOFT, _LINE, _STRONG, _PAPER = _INKS
_CONFIG: dict[str, Any] = {
    "background": None,
    "font": "Inter, system-ui, sans-serif",
    "aria": False,  # the page names the picture and has its numbers as a table
    "view": {"stroke": None},
    "axis": {
        "labelColor": _SOFT, "titleColor": _SOFT, "gridColor": _LINE, "domainColor": _STRONG, "tickColor": _STRONG,
        "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 220,
    },
    "axisX": {"grid": False},
    "legend": {"labelColor": _SOFT, "titleColor": _SOFT, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "orient": "top"},
    "header": {"labelColor": _SOFT, "titleColor": _SOFT},
    "range": {"category": list(_HUES)},
    "mark": {"color": next(iter(_HUES))},
    "line": {"strokeWidth": 2},
    "arc": {"stroke": _PAPER},
    "rule": {"color": _SOFT},
    "boxplot": {"median": {"color": _INK}, "rule": {"color": _SOFT}, "ticks": {"color": _SOFT}},
}  # fmt: skip


def draw(chart: Chart, rows: pl.DataFrame) -> str:
    """The picture of these rows as an SVG element.

    Raises:
        QueryError: when there are more rows than a picture shows, or Vega-Lite refuses the encoding.
    """
    if len(rows) > MOST_ROWS:
        raise QueryError(
            f"chart '{chart.name}' has {len(rows):,} rows; a picture shows {MOST_ROWS:,}",
            hint="group them in the SQL",
        )
    import vl_convert  # 80 MB with an engine of its own: only who draws waits for it

    spec = {
        "width": WIDTH,
        "height": chart.height,
        "padding": 8,
        "data": {"values": _values(rows)},
        "mark": chart.mark,
        "encoding": {name: _in_utc(channel) for name, channel in chart.encoding.items()},
        "config": _CONFIG,
    }
    try:
        svg = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    except ValueError as error:
        raise QueryError(
            f"chart '{chart.name}': Vega-Lite refuses it: {str(error).splitlines()[0]}"
        ) from error
    return _STANDS_FOR.sub(lambda found: (_INKS | _HUES)[found[0]], svg)


def _in_utc(channel: dict[str, Any]) -> dict[str, Any]:
    """Times are drawn in UTC, wherever the machine stands."""
    if channel.get("type") != "temporal":
        return channel
    return {**channel, "scale": {"type": "utc", **(channel.get("scale") or {})}}


def _values(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """The rows as Vega-Lite takes them: a place on paper needs no more digits than a float has."""
    plain = rows.with_columns(
        cs.decimal().cast(pl.Float64), cs.datetime().dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
    )
    return json.loads(plain.write_json())
