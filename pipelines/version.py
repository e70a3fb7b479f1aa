"""The version of the code that writes: on every row and every materialisation."""

from __future__ import annotations

from importlib.metadata import version

CODE_VERSION = version("medallion")
