"""What the build does to gold's rows so that they give no person away: masks, and groups large enough.

Masks are put on after the SQL, whose engine knows no hash, and before the contract's types are
looked at. The same value has the same hash and the same token in every table, so masked columns
still join; null stays null.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

import polars as pl
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from pipelines.contract import Contract
from pipelines.contract.mask import KEYED, Mask
from pipelines.errors import ContractError, QualityError, SettingsError
from pipelines.settings import mask_salt

_TRUNCATED = {"day": "1d", "week": "1w", "month": "1mo", "quarter": "1q", "year": "1y"}

#: What every token begins with, so that nobody takes it for a value.
_TOKEN = "tok_"  # noqa: S105 - no secret

#: What the salt's keys are for: the same salt gives each purpose a key of its own.
_FOR_HASHES, _FOR_TOKENS, _FOR_MARKS = b"medallion hash", b"medallion token", b"medallion mark"


def release(contract: Contract, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of a gold table's SQL as they may be shown: small groups dealt with, masks put on.

    Raises:
        QualityError: when a group is smaller than the contract allows, and it says to refuse.
        ContractError: when a mask cannot be put on what the SQL gives.
        SettingsError: when a mask needs the salt and there is none.
    """
    masks = {name: column.mask for name, column in contract.columns.items() if column.mask}
    shown = _large_groups(contract, rows)
    return shown.with_columns(
        _masked(contract, shown[name], mask)
        for name, mask in masks.items()
        if name in shown.columns
    )


def salt_mark(contract: Contract) -> str | None:
    """Tells one salt from another where a table's masks depend on it: another salt makes other rows.

    Raises:
        SettingsError: when there is no salt.
    """
    keyed = any(column.mask and column.mask.method in KEYED for column in contract.columns.values())
    return _key(mask_salt(), _FOR_MARKS).hex()[:8] if keyed else None


def reveal(tokens: pl.Series, salt: bytes | None = None) -> pl.Series:
    """The values behind tokens, for who has the salt.

    Raises:
        SettingsError: when one of them was not made with this salt.
    """
    cipher = AESSIV(_key(salt or mask_salt(), _FOR_TOKENS))

    def opened(token: str) -> str:
        try:
            sealed = base64.urlsafe_b64decode(token.removeprefix(_TOKEN).encode() + b"==")
            return cipher.decrypt(sealed, None).decode()
        except (InvalidTag, ValueError) as error:
            raise SettingsError("a token was not made with this salt") from error

    return _each_value(tokens, opened)


def _large_groups(contract: Contract, rows: pl.DataFrame) -> pl.DataFrame:
    size = contract.group_size
    if size is None or size.column not in rows.columns:
        return rows
    large = rows.filter(pl.col(size.column) >= size.minimum)
    small = len(rows) - len(large)
    if small and size.smaller == "refuse":
        raise QualityError(
            f"{contract.table}: {small} of {len(rows)} groups are of fewer than {size.minimum} "
            f"({size.column}); the table was left as it is",
            hint="group more coarsely, or write 'smaller: drop' under group_size",
        )
    return large


def _masked(contract: Contract, values: pl.Series, mask: Mask) -> pl.Series:
    if mask.method == "redact":
        kind = contract.columns[values.name].type.stored
        return pl.repeat(None, len(values), dtype=kind, eager=True).alias(values.name)
    if mask.method == "generalise":
        return _generalised(contract, values, mask)
    texts = _texts(contract, values, mask)
    if mask.method == "truncate":
        half = texts.str.len_chars() // 2
        most = pl.min_horizontal(pl.lit(mask.keep, dtype=pl.UInt32), pl.col("half"))
        frame = pl.DataFrame({"text": texts, "half": half})
        return frame.select(pl.col("text").str.head(most)).to_series().alias(values.name)
    return _each_value(texts, _hasher() if mask.method == "hash" else _tokeniser())


def _generalised(contract: Contract, values: pl.Series, mask: Mask) -> pl.Series:
    if isinstance(mask.to, int) and values.dtype.is_numeric():
        return values - values % mask.to
    if isinstance(mask.to, str) and (
        values.dtype == pl.Date or isinstance(values.dtype, pl.Datetime)
    ):
        return values.dt.truncate(_TRUNCATED[mask.to])
    raise _refused(contract, values, mask)


def _texts(contract: Contract, values: pl.Series, mask: Mask) -> pl.Series:
    if values.dtype.is_nested() or values.dtype == pl.Binary:
        raise _refused(contract, values, mask)
    return values.cast(pl.String)


def _refused(contract: Contract, values: pl.Series, mask: Mask) -> ContractError:
    return ContractError(
        f"{contract.path}: column '{values.name}': '{mask}' cannot be put on the {values.dtype} of the SQL"
    )


def _each_value(texts: pl.Series, change: Callable[[str], str]) -> pl.Series:
    """Each different value changed once; neither hashes nor ciphers are expressions of the engine."""
    different = texts.drop_nulls().unique()
    changed = pl.Series([change(text) for text in different], dtype=pl.String)
    return texts.replace_strict(different, changed, default=None, return_dtype=pl.String)


def _hasher() -> Callable[[str], str]:
    key = _key(mask_salt(), _FOR_HASHES)
    return lambda text: hmac.digest(key, text.encode(), "sha256").hex()


def _tokeniser() -> Callable[[str], str]:
    cipher = AESSIV(_key(mask_salt(), _FOR_TOKENS))
    return lambda text: (
        _TOKEN + base64.urlsafe_b64encode(cipher.encrypt(text.encode(), None)).decode().rstrip("=")
    )


def _key(salt: bytes, purpose: bytes) -> bytes:
    return hmac.digest(salt, purpose, hashlib.sha512)
