"""Trend plots as SVG that any reader can name: a line with its summary in words."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from lineage.catalog.model import Judged

WIDTH, HEIGHT, PAD = 168, 34, 4


def summary(results: Sequence[Judged]) -> str:
    """The trend in words: how often it was judged, since when, its lowest and its newest rate."""
    if not results:
        return "never judged"
    first, last = results[0], results[-1]
    lowest = min(results, key=lambda result: result.rate)
    since = "" if len(results) == 1 else f" since {first.at:%Y-%m-%d}"
    return (
        f"judged {len(results)} time{'' if len(results) == 1 else 's'}{since}; "
        f"lowest {lowest.rate:.2f} % on {lowest.at:%Y-%m-%d}, last {last.rate:.2f} %"
    )


def trend(results: Sequence[Judged]) -> Markup:
    """The share of rows that kept a rule, run by run; the scale ends at 100 % and begins below the lowest."""
    if not results:
        return Markup("")
    low = min(result.rate for result in results)
    # At least one percent high, so that a hair's breadth does not look like a landslide.
    floor = min(low - (100 - low) * 0.15, 99.0)
    step = (WIDTH - 2 * PAD) / max(1, len(results) - 1)
    points = [
        (
            PAD + (number * step if len(results) > 1 else WIDTH - 2 * PAD),
            PAD + (100 - result.rate) / (100 - floor) * (HEIGHT - 2 * PAD),
        )
        for number, result in enumerate(results)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    state = "good" if results[-1].passed else "bad"
    return Markup(
        '<svg class="trend {}" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">'
        '<line class="top" x1="{}" x2="{}" y1="{}" y2="{}"/><polyline points="{}"/>'
        '<circle cx="{}" cy="{}" r="2.75"/></svg>'
    ).format(
        state, WIDTH, HEIGHT, WIDTH, HEIGHT, summary(results),
        PAD, WIDTH - PAD, PAD, PAD, line, f"{x:.1f}", f"{y:.1f}",
    )  # fmt: skip
