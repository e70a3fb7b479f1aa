"""Where things stand in the site: files that no name can lead out of, and fragments a browser finds."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from urllib.parse import quote as percent_encoded

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_OTHER = re.compile(r"[^A-Za-z0-9_-]+")


@lru_cache(maxsize=100_000)
def _quoted(text: str) -> str:
    # Half a surrogate pair has no UTF-8; pages show it as the same question mark.
    return percent_encoded(text, safe=":.", errors="replace")


@lru_cache(maxsize=100_000)
def slug(name: str) -> str:
    """A file's name for any text: the text itself where it is plain, else like it with its digest.

    Two names never share a slug, also where the file system knows no letter case.
    """
    if _PLAIN.fullmatch(name) and name == name.lower() and len(name) <= 120:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{_OTHER.sub('-', name).strip('-').lower()[:80]}-{digest}"


def table_page(table: str) -> str:
    """The page of a table, from the site's root."""
    return f"tables/{slug(table)}.html"


def domain_page(domain: str) -> str:
    """The page of a domain, from the site's root."""
    return f"domains/{slug(domain)}.html"


@lru_cache(maxsize=100_000)
def column_id(column: str) -> str:
    """The id of a column's row on its table's page."""
    return "column-" + re.sub(r"\s", "_", column)


@lru_cache(maxsize=100_000)
def column_page(table: str, column: str) -> str:
    """A column's row on its table's page, from the site's root."""
    return f"{table_page(table)}#{_quoted(column_id(column))}"


@lru_cache(maxsize=100_000)
def graph_page(table: str, column: str | None = None) -> str:
    """The lineage graph about a table or a column, from the site's root."""
    about = _quoted(table) + ("" if column is None else "/" + _quoted(column))
    return f"lineage.html#{about}"
