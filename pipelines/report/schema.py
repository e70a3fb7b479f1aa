"""The JSON Schema of a report's YAML, which editors complete it by: `python -m pipelines.report.schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines.report.spec import Report

#: Where the reports' first lines look for it.
PUBLISHED = "assets/report.schema.json"


def report_schema() -> dict[str, Any]:
    """The schema (JSON Schema 2020-12) of `<domain>/reports/<name>.yaml`."""
    schema = Report.model_json_schema()
    del schema["properties"]["path"]  # filled in by the loader, not by people
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "medallion report",
        **{name: value for name, value in schema.items() if name != "title"},
    }


if __name__ == "__main__":
    Path(PUBLISHED).write_text(json.dumps(report_schema(), indent=2) + "\n", "utf-8")
