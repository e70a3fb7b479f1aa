"""How a secret is taken out of a value: what a contract can say of a mask, and of groups large enough."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from pipelines.contract.base import Strict
from pipelines.contract.types import FLOATS, INTEGERS, TIMESTAMPS, DataType

Method = Literal["hash", "tokenise", "truncate", "generalise", "redact"]
Unit = Literal["day", "week", "month", "quarter", "year"]

#: Masks that take a secret of the environment.
KEYED = ("hash", "tokenise")

#: The key of a mask that has terms, and where they are kept.
_TERMS = {"truncate": "keep", "generalise": "to"}


class Mask(Strict):
    """A mask with its terms: on a gold column the build puts it on; on a silver one it is the one approved."""

    method: Method
    keep: int | None = Field(default=None, ge=1)
    to: Unit | int | None = None

    def fault(self, kind: DataType, *, required: bool) -> str | None:
        """Why the build cannot put it on a column of this type; None: it can."""
        if self.method == "redact":
            return "'redact' leaves null, but the column is required" if required else None
        if self.method == "generalise":
            return self._not_general(kind)
        if kind.kind != "string":
            return f"'{self.method}' makes a string, not {kind}"
        if self.method == "truncate" and self.keep is None:
            return "'truncate' says how many characters stay, as in {truncate: 3}"
        return None

    def _not_general(self, kind: DataType) -> str | None:
        if isinstance(self.to, int):
            numbers = (*INTEGERS, *FLOATS, "decimal")
            if kind.kind not in numbers or self.to < 2:
                return "'generalise' to a number makes steps of 2 or more, of a number"
            return None
        known = ("date", *TIMESTAMPS)
        if self.to is None or kind.kind not in known or (kind.kind, self.to) == ("date", "day"):
            return "'generalise' says how far, as in {generalise: month} of a time or {generalise: 10} of a number"
        return None

    def __str__(self) -> str:
        terms = self.keep if self.method == "truncate" else self.to
        return self.method if terms is None else f"{self.method} ({terms})"


def _spelled(given: Any) -> Any:
    """`hash` and `{truncate: 3}` as the fields of a mask."""
    if isinstance(given, str):
        return {"method": given}
    if isinstance(given, dict) and len(given) == 1:  # pyright: ignore[reportUnknownArgumentType]
        ((method, terms),) = given.items()  # pyright: ignore[reportUnknownVariableType]
        if method in _TERMS:
            return {"method": method, _TERMS[method]: terms}
    return given  # pyright: ignore[reportUnknownVariableType]


class _Truncate(Strict):
    truncate: int = Field(ge=1, description="Characters that stay; never more than half of them.")


class _Generalise(Strict):
    generalise: Unit | int = Field(description="The unit of a time, or the step of a number.")


MaskSpec = Annotated[
    Mask,
    BeforeValidator(_spelled, json_schema_input_type=Method | _Truncate | _Generalise),
    Field(examples=["hash", {"truncate": 3}, {"generalise": "month"}]),
]


class GroupSize(Strict):
    """How many people stand behind each row of a gold table, so that its sums tell of none of them."""

    column: str = Field(description="A column of the table: a COUNT of the people of each group.")
    minimum: int = Field(ge=2, description="The smallest group that may be shown.")
    smaller: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="What becomes of a smaller one: the build fails, or goes on without it.",
    )
