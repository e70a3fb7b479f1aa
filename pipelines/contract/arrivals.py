"""How rows of a table arrive that no database's log tells of: files, and pages of an API."""

from __future__ import annotations

import codecs
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

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


class Paging(Strict):
    """How the next page is asked for: by a cursor that a page tells, by the whole URL that it tells, or by its number."""

    cursor: str | None = Field(
        default=None,
        description="Where a page tells what comes next, as in paging.next; absent or null there: it is the last.",
    )
    parameter: str | None = Field(
        default=None,
        description="The parameter that takes the cursor, or without 'cursor' the number of a page from 1 up to an "
        "empty one. Left out, the cursor is the next page's URL.",
    )

    @model_validator(mode="after")
    def _leads_on(self) -> Self:
        if self.cursor is None and self.parameter is None:
            raise ValueError("'paging' names a 'cursor', a 'parameter', or both")
        return self


class Since(Strict):
    """How to ask for what changed alone: from the largest value seen on."""

    field: str = Field(
        min_length=1, description="The field of an item that rises with each change."
    )
    parameter: str = Field(min_length=1, description="The parameter that takes its largest value.")


class Api(Strict):
    """A list of JSON objects to be had by HTTP GET, a row of the table each."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9]*$",
        description="The API: its URL and bearer token are in MEDALLION_API_<NAME>_URL and MEDALLION_API_<NAME>_TOKEN.",
    )
    path: str = Field(pattern=r"^/", description="The path below the URL.")
    items: str = Field(
        default="",
        description="Where a page holds the list, as in data.items; empty: it is the page.",
    )
    parameters: dict[str, str] = Field(
        default={}, description="Further parameters of every request."
    )
    paging: Paging | None = Field(default=None, description="Left out: one page holds all.")
    since: Since | None = Field(default=None, description="Left out: every pull reads all.")
