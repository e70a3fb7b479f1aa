"""What each connector calls a position, as two numbers: the transaction's and the event's.

Both fit 63 bits and rise in the order in which the source's log holds its changes. Where a log tells
changes apart by more than that, the event's number stops rising at its bound, and Kafka's order
decides between equals; it never falls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

_LONG = pl.Int64()

#: The fields of `source` that name a place in a log, as they are read: texts and whole numbers.
FIELDS: Mapping[str, pl.DataType] = {
    "sequence": pl.String(),
    "lsn": _LONG,
    "file": pl.String(),
    "pos": _LONG,
    "row": _LONG,
    "ord": _LONG,
    "ts_ms": _LONG,
    "ts_micro": _LONG,
    "commit_lsn": pl.String(),
    "change_lsn": pl.String(),
    "event_serial_no": _LONG,
    "scn": pl.String(),
    "commit_scn": pl.String(),
}

Fields = Mapping[str, pl.Expr]
Place = tuple[pl.Expr, pl.Expr]


def place(connectors: pl.Series, fields: Fields) -> Place:
    """Commit and event position by each row's connector; both null where the event names none."""
    commit, event = postgres(fields)
    for name in connectors.unique().drop_nulls().to_list():
        if (read := _BY_CONNECTOR.get(name)) is not None:
            is_it, (told, at) = pl.lit(connectors == name), read(fields)
            commit = pl.when(is_it).then(told).otherwise(commit)
            event = pl.when(is_it).then(at).otherwise(event)
    return _known(commit, event)


def place_of_flat(fields: Fields) -> Place:
    """The same of a flat row, which does not say its connector: the fields it has tell."""
    found = [read(fields) for read in (postgres, binlog, sql_server, oracle)]
    return _known(
        pl.coalesce(commit for commit, _ in found), pl.coalesce(event for _, event in found)
    )


def _known(commit: pl.Expr, event: pl.Expr) -> Place:
    known = (commit >= 0) & (event >= 0)
    return pl.when(known).then(commit), pl.when(known).then(event)


def postgres(fields: Fields) -> Place:
    """The last commit's LSN, which stands first in `source.sequence`, and the LSN of the change."""
    lsn = fields["lsn"]
    return pl.coalesce(_sequence_part(fields["sequence"], 1), lsn), lsn


#: Rows of one binlog event, and so of one position, are told apart by this many bits.
_ROW_BITS = 24
_MOST_POS = 2 ** (62 - _ROW_BITS)


def binlog(fields: Fields) -> Place:
    """MySQL, MariaDB: the number of the binlog's file, then place and row in it."""
    number = fields["file"].str.extract(r"\.(\d+)$").cast(_LONG, strict=False)
    pos = pl.when(fields["pos"].is_between(0, _MOST_POS - 1)).then(fields["pos"])
    row = fields["row"].fill_null(0).clip(0, 2**_ROW_BITS - 1)
    return number, pl.when(number.is_not_null()).then(pos * 2**_ROW_BITS + row)


#: `00000027:00000ac0:0002`: virtual log file, block in it, slot of the record in the block.
_LSN = r"^([0-9a-fA-F]{8}):([0-9a-fA-F]{8}):([0-9a-fA-F]{4})$"
_BLOCK_BITS, _NEAR_BLOCK_BITS, _SLOT_BITS, _SERIAL_BITS = 31, 28, 16, 2


def sql_server(fields: Fields) -> Place:
    """Commit LSN, then change LSN and the event's serial number (SQL Server connector, "Change event values").

    An LSN has 80 bits. The commit's file and block are the first number; its slot leads the second,
    followed by the change: whether it lies in the commit's log file or the one before, its block, slot
    and serial number. Changes that lie further back in a transaction than that are equals.
    """
    file, block, slot = _lsn(fields["commit_lsn"])
    change_file, change_block, change_slot = _lsn(
        pl.coalesce(fields["change_lsn"], fields["commit_lsn"])
    )
    near = (
        pl.when(file - change_file <= 1)
        .then(
            (file == change_file).cast(_LONG) * 2 ** (_NEAR_BLOCK_BITS + _SLOT_BITS)
            + change_block.clip(0, 2**_NEAR_BLOCK_BITS - 1) * 2**_SLOT_BITS
            + change_slot
        )
        .otherwise(0)
    )
    serial = fields["event_serial_no"].fill_null(0).clip(0, 2**_SERIAL_BITS - 1)
    within = near * 2**_SERIAL_BITS + serial
    bits = 1 + _NEAR_BLOCK_BITS + _SLOT_BITS + _SERIAL_BITS
    return file * 2**_BLOCK_BITS + block.clip(0, 2**_BLOCK_BITS - 1), slot * 2**bits + within


def _lsn(text: pl.Expr) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    parts = [
        text.str.extract(_LSN, at).str.to_integer(base=16, strict=False).cast(_LONG)
        for at in (1, 2, 3)
    ]
    return parts[0], parts[1], parts[2]


def oracle(fields: Fields) -> Place:
    """Commit SCN, then the change's SCN, texts of whole numbers (Oracle connector, "Change event values").

    Changes of one transaction that share an SCN are equals.
    """
    scn = fields["scn"].cast(_LONG, strict=False)
    return pl.coalesce(fields["commit_scn"].cast(_LONG, strict=False), scn), scn


def mongo(fields: Fields) -> Place:
    """Cluster time and ordinal."""
    return fields["ts_ms"], fields["ord"].fill_null(0)


def cassandra(fields: Fields) -> Place:
    """The write's own time, which is what the replicas order by."""
    return fields["ts_micro"], pl.lit(0, _LONG)


_BY_CONNECTOR: Mapping[str, Callable[[Fields], Place]] = {
    "mysql": binlog,
    "mariadb": binlog,
    "sqlserver": sql_server,
    "oracle": oracle,
    "mongodb": mongo,
    "cassandra": cassandra,
}


def _sequence_part(sequence: pl.Expr, part: int) -> pl.Expr:
    """A number of `source.sequence`, the JSON text `["<last commit lsn>","<lsn>"]`, each or null."""
    pattern = r'^\s*\[\s*(?:null|"?(\d+)"?)\s*,\s*(?:null|"?(\d+)"?)\s*\]\s*$'
    return sequence.str.extract(pattern, part).cast(pl.Int64, strict=False)
