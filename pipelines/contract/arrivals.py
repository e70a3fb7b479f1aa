"""How rows of a table arrive that no database's log tells of: files, and pages of an API."""

from __future__ import annotations

import codecs
from typing import Annotated

from pydantic import AfterValidator, Field

from pipelines.contract.base import Strict


def _known_encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError(
            f"'{name}' is no encoding that Python knows; write utf-8, cp1252, latin-1 or utf-16"
        ) from None


class Files(Strict):
    """CSV files with a header (RFC 4180), a row of the table a line; each is taken whole or set aside."""

    names: str = Field(
        min_length=1,
        description="Names of the files, as in campaign_days*.csv; case does not matter.",
    )
    separator: str = Field(default=",", min_length=1, max_length=1)
    encoding: Annotated[str, AfterValidator(_known_encoding)] = "utf-8"
    optional: tuple[str, ...] = Field(
        default=(), description="Fields that a file may leave out: null in its rows."
    )
