"""The proof of a silver table: silver and quarantine, compared with the source row by row."""

from pipelines.verify.compare import KINDS
from pipelines.verify.errors import DIFFERENCES_FOUND, VerifyError
from pipelines.verify.proof import Moment, Report, verify

__all__ = ["DIFFERENCES_FOUND", "KINDS", "Moment", "Report", "VerifyError", "verify"]
