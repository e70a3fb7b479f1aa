"""What a text may be: formats by their standards, and types that a text can be read as.

Each is a Polars expression over a text column: true = valid, null where the text is null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import polars as pl

#: The address of the HTML standard ("valid e-mail address"), with at least one dot in its host.
_EMAIL = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$"
#: RFC 3986 with an authority: a web address that names a host, or an IPv6 literal in brackets.
_URL = r"^(?i:https?|ftp)://(?:[A-Za-z0-9._~!$&'()*+,;=:%-]+@)?(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:.]+\])\.?(?::\d{1,5})?(?:[/?#][^\s<>\"{}|\\^`]*)?$"
#: RFC 9562, in either case.
_UUID = r"^[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}$"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = rf"^{_OCTET}(?:\.{_OCTET}){{3}}$"
#: ITU-T E.164: a plus, the country's code, and at most 15 digits.
_PHONE = r"^\+[1-9]\d{6,14}$"

_PATTERNS: Mapping[str, str] = {
    "email": _EMAIL,
    "url": _URL,
    "uuid": _UUID,
    "ipv4": _IPV4,
    "phone": _PHONE,
}

#: Codes by the tables that pycountry keeps: the table, and the field of its entries.
_CODES: Mapping[str, tuple[str, str]] = {
    "country": ("countries", "alpha_2"),  # ISO 3166-1
    "country3": ("countries", "alpha_3"),
    "subdivision": ("subdivisions", "code"),  # ISO 3166-2
    "currency": ("currencies", "alpha_3"),  # ISO 4217
    "language": ("languages", "alpha_2"),  # ISO 639-1
    "language3": ("languages", "alpha_3"),  # ISO 639-3
    "script": ("scripts", "alpha_4"),  # ISO 15924
}

FORMATS = (*_PATTERNS, *_CODES)


def has_format(text: pl.Expr, name: str) -> pl.Expr:
    """Whether a text has one of `FORMATS`; codes are written as their standard writes them."""
    if name in _PATTERNS:
        return text.str.contains(_PATTERNS[name])
    return pl.when(text.is_not_null()).then(text.is_in(codes(name).implode()))


@cache
def codes(name: str) -> pl.Series:
    """The codes of an ISO standard; read once, where a rule asks for them."""
    import pycountry  # its tables are read when they are first used

    table, field = _CODES[name]
    found = {getattr(entry, field, None) for entry in getattr(pycountry, table)}
    return pl.Series(sorted(code for code in found if code is not None), dtype=pl.String)


# ---- TYPES ---- #

_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?"
_TIMESTAMP = rf"^\d{{4}}-\d\d-\d\d[T ]{_CLOCK}(?:Z|[+-]\d\d:?\d\d)?$"


def _is_date(text: pl.Expr) -> pl.Expr:
    shaped = text.str.contains(r"^\d{4}-\d\d-\d\d$")
    return shaped & text.str.to_date("%Y-%m-%d", strict=False).is_not_null()


def _is_integer(text: pl.Expr) -> pl.Expr:
    return text.str.contains(r"^[+-]?\d{1,18}$")


TYPES: Mapping[str, Callable[[pl.Expr], pl.Expr]] = {
    "integer": _is_integer,
    "number": lambda text: text.str.contains(r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?$"),
    "boolean": lambda text: text.str.contains(r"^(?i:true|false)$"),
    "date": _is_date,
    "timestamp": lambda text: text.str.contains(_TIMESTAMP) & _is_date(text.str.slice(0, 10)),
}


def can_be_read_as(text: pl.Expr, name: str) -> pl.Expr:
    """Whether a text can be read as one of `TYPES`: integers of 18 digits, ISO 8601 dates and times."""
    return pl.when(text.is_not_null()).then(TYPES[name](text))
