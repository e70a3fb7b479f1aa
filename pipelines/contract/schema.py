"""The JSON Schema of a contract's YAML, which editors complete it by: `python -m pipelines.contract.schema`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pipelines.contract.model import Contract

#: Filled in by the loader, not by people.
_INTERNAL = ("path", "sql")

#: Where the contracts' first lines look for it.
PUBLISHED = "assets/contract.schema.json"


def contract_schema() -> dict[str, Any]:
    """The schema (JSON Schema 2020-12) of `<domain>/<layer>/<table>.yaml`."""
    schema = Contract.model_json_schema()
    for name in _INTERNAL:
        del schema["properties"][name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "medallion contract",
        **schema,
    }


def main() -> None:
    """Writes the schema to the file named on the command line, or to the published one."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else PUBLISHED)
    path.write_text(json.dumps(contract_schema(), indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
