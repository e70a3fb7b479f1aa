"""Who puts a summary into words. The template alone, unless somebody passes another writer.

A language model fits behind `Writer`: it gets the draft and its facts, which are gold's and not
classified. What it writes is only taken when it names no number that the draft does not have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")


class Writer(Protocol):
    """Says what a draft says in other words."""

    def write(self, draft: str, facts: Mapping[str, Any]) -> str:
        """The text that readers see; `facts` are the columns that the draft was made of."""
        ...


class AsDrafted:
    """The draft, as it is."""

    def write(self, draft: str, facts: Mapping[str, Any]) -> str:
        """The draft."""
        del facts
        return draft


def written(writer: Writer, draft: str, facts: Mapping[str, Any]) -> str:
    """The writer's text; the draft where that is empty, or tells a number that the draft does not."""
    text = writer.write(draft, facts).strip()
    invented = set(_NUMBER.findall(text)) - set(_NUMBER.findall(draft))
    return draft if invented or not text else text
