"""The bytes of a CSV file as rows of text with the lines they stand in, or what keeps them from being that."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import compress

import polars as pl

from pipelines.contract.arrivals import Files
from pipelines.files.fault import MOST_FAULTS, Fault, Unreadable

#: Larger files are refused: a file is judged and committed as one, so it must fit into memory some times over.
MOST_BYTES = 256 << 20

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_AGAIN = "Export it again, or ask whoever sends it."


@dataclass(frozen=True, slots=True)
class Parsed:
    """The rows of a file: a column of text (null: empty) for each field of its header, and the line of each row."""

    rows: pl.DataFrame
    lines: pl.Series


def parse_csv(data: bytes, files: Files, fields: Sequence[str]) -> Parsed:
    """The rows, under a header that has at least `fields`. Blank lines are no rows.

    Raises:
        Unreadable: with each fault that keeps the file from being read.
    """
    text = _text(data, files)
    header, records, lines = _records(text, files.separator)
    _refuse_header(header, files, fields)
    ragged = [len(record) != len(header) for record in records]
    if any(ragged):
        raise Unreadable(
            *(
                Fault(
                    line=line,
                    reason=f"has {len(record)} values where the header has {len(header)}",
                    next_step=f"Put values that hold a '{files.separator}' in double quotes; write nothing between two separators for a value that is not known.",
                )
                for record, line in list(compress(zip(records, lines, strict=True), ragged))[
                    :MOST_FAULTS
                ]
            )
        )
    if not records:
        raise Unreadable(
            Fault(line=1, reason="has a header and no row below it", next_step="Export it again; where there was nothing to tell, send no file.")
        )  # fmt: skip
    columns = zip(header, zip(*records, strict=True), strict=True)
    frame = pl.DataFrame({name: pl.Series(values, dtype=pl.String) for name, values in columns})
    empty = [pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in header]
    return Parsed(frame.select(empty), pl.Series("_line", lines, dtype=pl.Int64))


def _text(data: bytes, files: Files) -> str:
    if len(data) > MOST_BYTES:
        raise Unreadable(
            Fault(reason=f"has {len(data) >> 20} MiB; at most {MOST_BYTES >> 20} are read at once", next_step="Split it, each part with the header.")
        )  # fmt: skip
    marked = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    expected = codecs.lookup(files.encoding).name
    if marked is not None and marked != expected:
        raise _other_encoding(1, f"begins as {marked} does", expected)
    try:
        text = data.decode("utf-8-sig" if expected == "utf-8" else expected)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _other_encoding(line, f"has a byte 0x{data[error.start]:02X} that is no {expected}", expected) from error  # fmt: skip
    if not text.strip():
        raise Unreadable(Fault(reason="is empty", next_step=_AGAIN))
    return text


def _other_encoding(line: int, reason: str, expected: str) -> Unreadable:
    step = f"Save it as {expected} (Excel: 'CSV UTF-8'), or name its encoding in the contract's 'files'."
    return Unreadable(Fault(line=line, reason=reason, next_step=step))


def _records(text: str, separator: str) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, records, and the line that each record begins in."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    records, lines, begins = list[list[str]](), list[int](), 1
    try:
        for record in reader:
            if any(record):
                records.append(record)
                lines.append(begins)
            begins = reader.line_num + 1
    except csv.Error as error:
        raise Unreadable(
            Fault(line=begins, reason=f"cannot be taken apart: {error}", next_step="Look for a double quote without its pair; a quote within a value is written twice.")
        ) from error  # fmt: skip
    return records[0], records[1:], lines[1:]


def _refuse_header(header: Sequence[str], files: Files, fields: Sequence[str]) -> None:
    other = next((each for each in _SEPARATORS if each != files.separator and set(fields) <= set(header[0].split(each))), None)  # fmt: skip
    if len(header) == 1 and len(fields) > 1 and other is not None:
        told, wanted = _SEPARATORS[other], _SEPARATORS.get(files.separator, f"'{files.separator}'")
        raise Unreadable(
            Fault(line=1, reason=f"its values are separated by {told}, not by {wanted}", next_step=f"Export it with {wanted}, or name the separator in the contract's 'files'.")
        )  # fmt: skip
    faults = [
        Fault(line=1, column=name, reason="stands twice in the header", next_step="Give each column a name of its own.")
        for name in dict.fromkeys(each for at, each in enumerate(header) if each in header[:at])
    ]  # fmt: skip
    spare = [name for name in header if name not in fields]
    for name in fields:
        if name not in header:
            near = next(iter(get_close_matches(name, spare, n=1, cutoff=0.5)), None)
            step = f"The header has {near}: rename it." if near else "Add it to the export; a value that is not known stays empty."  # fmt: skip
            faults.append(Fault(line=1, column=name, reason="is missing from the header", next_step=step))  # fmt: skip
    if faults:
        raise Unreadable(*faults)
