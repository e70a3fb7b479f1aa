"""Fields of documents by their paths, and what is left of a document that no path takes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from pipelines.change.ndjson import parse
from pipelines.contract.source import REST, TIME, WHOLE

#: What is taken of a document: names, and of each what is taken in it; None where it is taken whole.
Taken = Mapping[str, Any]


def read_paths(
    texts: pl.Series,
    fields: Mapping[str, pl.DataType],
    *,
    objects: str | None,
    withheld: Iterable[str] = (),
) -> tuple[pl.DataFrame, pl.Series]:
    """A column for each field of the JSON documents, and why one could not be read; see `ndjson.parse`.

    `a.b` is the field `b` of the structure `a`; `$` the text as it is; `$rest` the document without
    what the other fields take and without what is withheld, null where nothing is left.
    """
    tree = _tree({name: kind for name, kind in fields.items() if not _is_special(name)})
    frame, reasons = parse(texts, {n: _dtype(inner) for n, inner in tree.items()}, objects=objects)
    columns = [_at(name).alias(name) for name in fields if not _is_special(name)]
    if WHOLE in fields:
        columns.append(pl.lit(texts).alias(WHOLE))
    if REST in fields:
        hidden = _tree(dict.fromkeys(withheld, pl.String()))
        taken = _merged(_taken(tree), _taken(hidden))
        readable = texts.zip_with(reasons.is_null(), pl.repeat(None, len(texts), dtype=pl.String, eager=True))  # fmt: skip
        columns.append(pl.lit(_rests(readable, taken)).alias(REST))
    return frame.select(columns), reasons


def _is_special(name: str) -> bool:
    return name in (WHOLE, REST, TIME)


def _at(path: str) -> pl.Expr:
    first, *inner = path.split(".")
    value = pl.col(first)
    for part in inner:
        value = value.struct.field(part)
    return value


def _tree(fields: Mapping[str, pl.DataType]) -> dict[str, Any]:
    """The fields inside the fields that lead to them; at each end its type."""
    tree: dict[str, Any] = {}
    for path, kind in fields.items():
        *parents, last = path.split(".")
        branch = tree
        for parent in parents:
            held = branch.setdefault(parent, {})
            branch = held if isinstance(held, dict) else branch
        branch.setdefault(last, kind)
    return tree


def _dtype(held: Any) -> pl.DataType:
    if isinstance(held, dict):
        return pl.Struct({name: _dtype(inner) for name, inner in held.items()})  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return held


# ---- THE REST ---- #


def _taken(held: Any) -> Any:
    """What is taken of a value of this type: all of it, or the members of a structure, also in a list."""
    if isinstance(held, dict):
        return {name: _taken(inner) for name, inner in held.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(held, pl.Struct):
        return {member.name: _taken(member.dtype) for member in held.fields}
    if isinstance(held, pl.List):
        return _taken(held.inner)
    return None


def _merged(first: Any, second: Any) -> Any:
    if first is None or second is None:
        return None
    both = {name: _merged(first[name], second[name]) for name in first.keys() & second.keys()}
    return {**first, **second, **both}


def _rests(texts: pl.Series, taken: Taken) -> pl.Series:
    """What is left of each document; names are known to none before it is read, so each is read alone."""
    left = [None if text is None else _rest(json.loads(text), taken) for text in texts.to_list()]
    written = [None if each is None else json.dumps(each, ensure_ascii=False) for each in left]
    return pl.Series(written, dtype=pl.String)


def _rest(value: Any, taken: Any) -> Any:
    """What of a value is not taken; None when nothing is left.

    A list whose items are taken in part keeps their places: `[{}, {"alt": "a cat"}]`.
    """
    if taken is None or value is None:
        return None
    if isinstance(value, list):
        items = [_rest(item, taken) for item in value]  # pyright: ignore[reportUnknownVariableType]
        return None if all(item is None for item in items) else [i if i is not None else {} for i in items]  # fmt: skip
    if isinstance(value, dict):
        return dict(_left(value, taken)) or None  # pyright: ignore[reportUnknownArgumentType]
    return value


def _left(document: Mapping[str, Any], taken: Taken) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if name not in taken:
            yield name, value
        elif (inner := _rest(value, taken[name])) is not None:
            yield name, inner


def is_taken(path: str, fields: Mapping[str, pl.DataType]) -> bool:
    """Whether all that stands at a path goes into one of the fields."""
    whole = [n for n, kind in fields.items() if not _is_special(n) and _taken(kind) is None]
    return any(path == each or path.startswith(f"{each}.") for each in whole)
