"""Bytes that stand for texts and bits."""

from __future__ import annotations

import polars as pl

from pipelines.change.schema import Writing


def bytes_as_text(raw: pl.Expr, writing: Writing) -> pl.Expr:
    """Base64 of UTF-8 text, or of bits, as the text that it is; null where it is none."""
    read = _bit_texts if writing.encoding == "bits" else _utf8_texts
    return raw.map_batches(
        lambda s: read(s, writing.scale), return_dtype=pl.String, is_elementwise=True
    )


def _utf8_texts(raw: pl.Series, _: int | None) -> pl.Series:
    return pl.Series(raw.name, [_utf8(data) for data in _octets(raw)], dtype=pl.String)


def _utf8(data: bytes | None) -> str | None:
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        return None


def _bit_texts(raw: pl.Series, length: int | None) -> pl.Series:
    """The digits of Debezium's `Bits`, whose bytes come lowest first (Postgres connector, "Basic types")."""
    texts = [
        None
        if data is None
        else format(
            int.from_bytes(data, "little"), f"0{8 * len(data) if length is None else length}b"
        )
        for data in _octets(raw)
    ]
    return pl.Series(raw.name, texts, dtype=pl.String)


def bits_as_number(raw: pl.Expr) -> pl.Expr:
    """Base64 of up to 64 bits as the digits of a number."""
    return raw.map_batches(
        lambda s: pl.Series(
            s.name,
            [
                None if data is None or len(data) > 8 else str(int.from_bytes(data, "little"))
                for data in _octets(s)
            ],
            dtype=pl.String,
        ),
        return_dtype=pl.String,
        is_elementwise=True,
    )


def _octets(raw: pl.Series) -> list[bytes | None]:
    return raw.str.decode("base64", strict=False).to_list()
