"""Why a table is computed whole."""

from __future__ import annotations


class NotProvable(Exception):  # noqa: N818 - no failure: the whole computation answers it
    """It cannot be shown which rows a change reaches; the text says why, for a reader of the SQL."""
