"""Why a comparison cannot be made. That it was made and found differences is no error of this kind."""

from __future__ import annotations

from typing import ClassVar

from pipelines.errors import MedallionError

#: What the command line ends with when rows differ.
DIFFERENCES_FOUND = 21


class VerifyError(MedallionError):
    """Source and lake cannot be compared, so nothing is known of them."""

    exit_code: ClassVar[int] = 22
