"""What all parts of a contract share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

IDENTIFIER = r"[a-z][a-z0-9_]*"

TableName = Annotated[str, Field(pattern=rf"^{IDENTIFIER}(\.{IDENTIFIER}){{2}}$")]


class Strict(BaseModel):
    """A part of a contract: what it does not know is an error, and what exists does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
