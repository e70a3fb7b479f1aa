"""What docs/lineage.md shows is so."""

from __future__ import annotations

import re
from pathlib import Path


def test_the_example_of_the_page_runs() -> None:
    page = (Path(__file__).parents[3] / "docs" / "lineage.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(code, "docs/lineage.md", "exec"), {})
