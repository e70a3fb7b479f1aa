"""What a result may tell: no value of a hidden column, and of an exception what it says, not where."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from quality_rules.gx.metrics import HIDDEN

#: Parts of a result that hold values of the columns that it speaks of.
_VALUES = (
    "observed_value",
    "partial_unexpected_list",
    "partial_unexpected_counts",
    "unexpected_list",
    "unexpected_rows",
    "details",
)
#: Expectations of these name columns and count rows: their observed value is no value of a row.
_OF_SHAPE = ("expect_table_", "expect_column_to_exist")


def redact(result: Any, hidden: frozenset[str]) -> Any:
    """A suite's result, its parts changed in place, without the values of hidden columns."""
    for each in result.results:
        touched = hidden & set(columns_of(each.expectation_config.kwargs))
        if touched and not each.expectation_config.type.startswith(_OF_SHAPE):
            each.result.update({part: HIDDEN for part in _VALUES if part in each.result})
        if (said := exception_of(each)) is not None:
            told = f"not told: {', '.join(sorted(touched))} is classified" if touched else said
            each.exception_info = {
                "raised_exception": True,
                "exception_traceback": told,  # pages show it, and the real one shows folders
                "exception_message": told,
            }
    return result


def columns_of(arguments: Mapping[str, Any]) -> Iterator[str]:
    """The columns that an expectation names."""
    yield from (arguments[key] for key in ("column", "column_A", "column_B") if key in arguments)
    yield from arguments.get("column_list") or ()
    yield from arguments.get("columns") or ()
    # A condition names its columns in its text.
    yield from re.findall(r"\w+", str((arguments.get("params") or {}).get("sql", "")))


def exception_of(result: Any) -> str | None:
    """What was raised while an expectation was judged; None when it was judged."""
    info: Mapping[str, Any] = result.exception_info or {}
    each = [info] if "raised_exception" in info else list(info.values())
    said = [one.get("exception_message") for one in each if one.get("raised_exception")]
    return str(said[0] or "unknown").splitlines()[0] if said else None
