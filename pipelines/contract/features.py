"""What a contract says of a table of features."""

from __future__ import annotations

from pydantic import Field

from pipelines.contract.base import Strict, TableName


class Features(Strict):
    """A table of features (gold): computed for rows of another table, each of a key and an instant."""

    moments: TableName = Field(
        description="The input that says for whom and as of when: the key's columns and 'as_of'. "
        "A training set puts its own rows in its place."
    )
