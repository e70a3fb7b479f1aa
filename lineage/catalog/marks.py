"""The smallest pieces of the pages, in Python: they stand there by the hundred thousand.

Each takes plain text and escapes it.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import lru_cache

from markupsafe import Markup

from lineage.catalog import links
from lineage.catalog.flows import End
from lineage.privacy import SECRET

#: How many ends of ways a table lists; the graph shows them all.
_ENDS = 3

_NONE = Markup('<span class="none">&ndash;</span>')


@lru_cache(maxsize=64)
def class_mark(name: str) -> Markup:
    """A column's class; those of the secret ones stand out."""
    tone = f"class class-{name}" if name in SECRET else "class"
    return Markup('<span class="{}">{}</span>').format(tone, name)


@lru_cache(maxsize=100_000)
def _column_link(root: str, table: str, column: str, known: bool) -> Markup:  # noqa: FBT001 - of a cache
    text = Markup("{}.<wbr>{}").format(table, column)
    if not known:
        return Markup('<span class="name">{}</span>').format(text)
    page = root + links.column_page(table, column)
    return Markup('<a class="name" href="{}">{}</a>').format(page, text)


def column_link(tables: Container[str], root: str, table: str, column: str) -> Markup:
    """A link to a column's row on the page of its table, if that has one."""
    return _column_link(root, table, column, table in tables)


def ends(tables: Container[str], root: str, found: Sequence[End], graph: str) -> Markup:
    """The other ends of a column's ways; more than a few are left to the graph."""
    if not found:
        return _NONE
    items = [
        Markup('<li>{} <span class="how">{}</span></li>').format(
            column_link(tables, root, end.table, end.column), end.how
        )
        for end in found[:_ENDS]
    ]
    if len(found) > _ENDS:
        more = Markup('<li><a class="more" href="{}">{} more</a></li>')
        items.append(more.format(graph, len(found) - _ENDS))
    return Markup('<ul class="ends">{}</ul>').format(Markup("").join(items))
