"""One class a mistake; each says what, where and what next, and ends the process with its own code."""

from __future__ import annotations

from typing import ClassVar


class MedallionError(Exception):
    """Root of every error we raise for a user; shown without a traceback.

    `exit_code` is what the command line ends with, so that a scheduler knows the kind of failure
    without reading logs.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\n  Hint: {hint}")


class SettingsError(MedallionError):
    """A setting is unknown, missing or malformed."""

    exit_code = 10


class ContractError(MedallionError):
    """A contract, or the SQL beside it, does not say something we can carry out."""

    exit_code = 11


class BrokerError(MedallionError):
    """Kafka cannot be reached, or refuses what we ask."""

    exit_code = 12


class OffsetsLostError(BrokerError):
    """Offsets we have not read are gone from the broker (retention, or a recreated topic)."""

    exit_code = 13


class LakeError(MedallionError):
    """A table of the lake is missing, damaged, or cannot be written."""

    exit_code = 14


class ConflictError(LakeError):
    """Another writer committed between our read and our write; running again is safe."""

    exit_code = 15


class LossError(MedallionError):
    """A write would round, shift, truncate or replace a value; nothing was written."""

    exit_code = 16


class QueryError(MedallionError):
    """A query names something that does not exist, or does not run."""

    exit_code = 17


class QualityError(MedallionError):
    """A rule that must hold does not."""

    exit_code = 18


class DriftError(MedallionError):
    """A source changed in a way that its table's contract refuses; the table stays as it was."""

    exit_code = 23


class LagError(MedallionError):
    """A table would show a source transaction in part, since one of its inputs lags; it stays as it was."""

    exit_code = 24


class RegistryError(MedallionError):
    """The schema registry does not answer, so Avro messages cannot be read; nothing was taken."""

    exit_code = 20


class ReplayError(MedallionError):
    """A silver table is not what its bronze makes; the report names the rows."""

    exit_code = 25


class PullError(MedallionError):
    """An API does not answer, or not as its contract says; what it had told before that is in bronze."""

    exit_code = 27


class IncompatibleError(MedallionError):
    """A schema cannot be the next version of its subject: some readers could not read some messages."""

    exit_code = 28
