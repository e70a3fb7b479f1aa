from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

from benchmarks.plot import number, plot, series


def _result(what: str, measured: str, **more: object) -> dict[str, object]:
    return {"at": "2026-11-21T06:42:18+00:00", "what": what, "measured": measured, "wanted": "≤ 0.10", "how": "", **more}  # fmt: skip


def test_the_first_number_of_a_text_counts():
    assert number("294,562 events/s") == 294_562
    assert number("≤ 0.10, below 1,500 MB") == 0.1
    assert number("not measured") is None


def test_a_line_measured_once_or_in_words_has_no_history():
    told = [_result("a", "0.3"), _result("a", "0.2", load=0.5), _result("b", "1"), _result("c", "not measured"), _result("c", "no")]  # fmt: skip
    (line,) = series(told)
    assert line.what == "a"
    assert line.wanted == 0.1
    assert [(point.value, point.busy) for point in line.points] == [(0.3, True), (0.2, False)]


def test_a_wish_in_brackets_is_not_of_this_line():
    told = [_result("a", "0.3") | {"wanted": "(50 ms at 100M)"} for _ in range(2)]
    assert series(told)[0].wanted is None


def test_the_kept_results_are_drawn_with_a_point_each(tmp_path: Path):
    results, into = tmp_path / "results.jsonl", tmp_path / "plot.svg"
    told = [_result("a < b & c", f"{n}.5 events/s", load=n) for n in range(1, 5)]
    results.write_text("".join(json.dumps(each) + "\n" for each in told), "utf-8")
    assert plot(results, into) == 1
    drawn = ET.parse(into).getroot()
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}circle"))) == len(told)
