"""`python -m benchmarks plot [FILE]`: the history of results.jsonl as SVG, by default docs/speed.svg.

A panel for each line that was measured twice or more, on a logarithmic axis; a hollow point was taken
while something else kept the machine busy. The dashed line is what was wanted last.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
#: A run's processes alone load a machine by about this much.
_BUSY = 2.0
_WIDE, _HIGH, _ACROSS = 340, 130, 3
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 34, 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measurement; `busy` where the load of the machine says so, or nothing says it."""

    at: datetime
    value: float
    busy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What was measured of one line, oldest first, and what was wanted of it last."""

    what: str
    unit: str
    points: tuple[Point, ...]
    wanted: float | None


def number(text: str) -> float | None:
    """The first number in a text, None where there is none above zero."""
    found = _NUMBER.search(text)
    value = float(found[0].replace(",", "")) if found else 0.0
    return value if value > 0 else None


def series(results: Iterable[Mapping[str, object]]) -> list[Series]:
    """The lines measured at least twice, in the order they first came."""
    by_name = dict[str, list[Mapping[str, object]]]()
    for result in results:
        if number(str(result["measured"])) is not None:
            by_name.setdefault(str(result["what"]), []).append(result)
    return [_series(what, found) for what, found in by_name.items() if len(found) > 1]


def _series(what: str, found: Sequence[Mapping[str, object]]) -> Series:
    points = [
        Point(
            at=datetime.fromisoformat(str(each["at"])),
            value=number(str(each["measured"])) or 0.0,
            busy=float(str(each.get("load", "inf"))) > _BUSY,
        )
        for each in found
    ]
    last = found[-1]
    return Series(
        what=what,
        unit=_NUMBER.sub("", str(last["measured"]), count=1).strip(),
        points=tuple(sorted(points, key=lambda point: point.at)),
        wanted=number(str(last["wanted"])) if str(last["wanted"])[:1] in "≤≥<>" else None,
    )


def draw(lines: Sequence[Series]) -> str:
    """The panels as one SVG."""
    rows = math.ceil(len(lines) / _ACROSS)
    panels = [
        f'<g transform="translate({at % _ACROSS * _WIDE} {at // _ACROSS * _HIGH})">{_panel(each)}</g>'
        for at, each in enumerate(lines)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE * _ACROSS} {rows * _HIGH}" '
        'font-family="sans-serif" font-size="10">'
        '<rect width="100%" height="100%" fill="white"/>' + "\n".join(panels) + "</svg>\n"
    )


def _panel(line: Series) -> str:
    values = [point.value for point in line.points] + ([line.wanted] if line.wanted else [])
    low, high = math.log(min(values)), math.log(max(values))
    margin = max(0.1, (high - low) * 0.1)
    low, high = low - margin, high + margin

    def down(value: float) -> float:
        return _TOP + (high - math.log(value)) / (high - low) * (_HIGH - _TOP - _BOTTOM)

    step = (_WIDE - _LEFT - _RIGHT) / max(1, len(line.points) - 1)
    places = [(_LEFT + at * step, down(point.value)) for at, point in enumerate(line.points)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" stroke="#225" fill="{"white" if point.busy else "#225"}">'
        f"<title>{point.at:%Y-%m-%d %H:%M}: {point.value:g}</title></circle>"
        for (x, y), point in zip(places, line.points, strict=True)
    )
    wanted = ""
    if line.wanted:
        y = down(line.wanted)
        wanted = (
            f'<line x1="{_LEFT}" x2="{_WIDE - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#a33" stroke-dasharray="4 3"/>'
            f'<text x="{_LEFT - 4}" y="{y + 3:.1f}" text-anchor="end" fill="#a33">{_short(line.wanted)}</text>'
        )
    last = line.points[-1]
    return (
        f'<text x="6" y="14" font-weight="bold">{escape(line.what[:58])}</text>'
        f'<text x="6" y="26" fill="#555">last {_short(last.value)} {escape(line.unit)}</text>'
        f'{wanted}<polyline points="{path}" fill="none" stroke="#88a"/>{dots}'
        f'<text x="{_LEFT}" y="{_HIGH - 6}" fill="#777">{line.points[0].at:%m-%d %H:%M}</text>'
        f'<text x="{_WIDE - _RIGHT}" y="{_HIGH - 6}" text-anchor="end" fill="#777">{last.at:%m-%d %H:%M}</text>'
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:g}"


def plot(results: Path, into: Path) -> int:
    """Writes the history as SVG; how many lines it shows."""
    lines = series(json.loads(text) for text in results.read_text("utf-8").splitlines())
    into.write_text(draw(lines), "utf-8")
    return len(lines)
