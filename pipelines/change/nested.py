"""Fields of documents by their paths, and what is left of a document that no path takes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import polars as pl

from pipelines.change.ndjson import WRONG_SHAPE, parse
from pipelines.contract.source import REST, TIME, WHOLE

#: What is taken of a document: names, and of each what is taken in it; None where it is taken whole.
Taken = Mapping[str, Any]


class Read(NamedTuple):
    """What was read of documents: a column a field, and of each document what kept it from being read.

    `reasons` is of the whole document (see `ndjson.parse`), `misshapen` the first field that is of
    another shape than its type: its column is null, the others are read.
    """

    frame: pl.DataFrame
    reasons: pl.Series
    misshapen: pl.Series


def read_paths(
    texts: pl.Series, fields: Mapping[str, pl.DataType], *, withheld: Iterable[str] = ()
) -> Read:
    """The fields of JSON documents.

    `a.b` is the field `b` of the structure `a`; `$` the text as it is; `$rest` the document without
    what the other fields take and without what is withheld, null where nothing is left.
    """
    plain = {name: kind for name, kind in fields.items() if not _is_special(name)}
    read = _by_field(texts, plain, _fields(texts, plain))
    columns = [pl.col(name) for name in plain]
    if WHOLE in fields:
        columns.append(pl.lit(texts).alias(WHOLE))
    if REST in fields:
        hidden = _tree(dict.fromkeys(withheld, pl.String()))
        taken = _merged(_taken(_tree(plain)), _taken(hidden))
        readable = pl.select(pl.when(pl.lit(read.reasons.is_null())).then(texts)).to_series()
        columns.append(pl.lit(_rests(readable, taken)).alias(REST))
    return read._replace(frame=read.frame.select(columns))


def _fields(texts: pl.Series, fields: Mapping[str, pl.DataType]) -> tuple[pl.DataFrame, pl.Series]:
    """A column a field, and why a document could not be read to all of them."""
    schema = {name: _dtype(inner) for name, inner in _tree(fields).items()}
    frame, reasons = parse(texts, schema, objects="")
    return frame.select(_at(name).alias(name) for name in fields), reasons


def _by_field(
    texts: pl.Series, fields: Mapping[str, pl.DataType], read: tuple[pl.DataFrame, pl.Series]
) -> Read:
    """The documents that are of another shape read once more, each field alone."""
    frame, reasons = read
    odd = (reasons == WRONG_SHAPE).fill_null(value=False)
    nothing = pl.repeat(None, len(texts), dtype=pl.String, eager=True)
    if not odd.any():
        return Read(frame, reasons, nothing)
    few = texts.filter(odd)
    parts = {name: _fields(few, {name: kind}) for name, kind in fields.items()}
    wrong = [pl.when(pl.lit(why.is_not_null())).then(pl.lit(n)) for n, (_, why) in parts.items()]
    again = pl.concat([part for part, _ in parts.values()], how="horizontal")
    found = again.select(pl.coalesce(wrong)).to_series()
    order = pl.concat([(~odd).arg_true(), odd.arg_true()]).arg_sort()
    whole = pl.concat([frame.filter(~odd), again]).select(pl.all().gather(order))
    fine = reasons.zip_with(~odd, nothing)
    return Read(whole, fine, nothing.scatter(odd.arg_true(), found))


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
