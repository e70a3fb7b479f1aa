"""Polars as a datasource: LazyFrames and Delta tables as data assets.

source = context.data_sources.add_polars(name="lake")
asset = source.add_lazyframe_asset(name="silver.shop.orders")
whole = asset.add_batch_definition("whole")
whole.get_batch({"dataframe": frame}).validate(suite)
"""

# The fluent models are generic and partly untyped.
# pyright: reportPrivateImportUsage=false, reportIncompatibleVariableOverride=false
# pyright: reportIncompatibleMethodOverride=false, reportPrivateUsage=false, reportMissingTypeArgument=false
# pyright: reportUnknownParameterType=false

from typing import Any, ClassVar, Literal

import polars as pl
from great_expectations.compatibility import pydantic
from great_expectations.core.batch import LegacyBatchDefinition
from great_expectations.core.id_dict import IDDict
from great_expectations.datasource.fluent import BatchRequest
from great_expectations.datasource.fluent.batch_identifier_util import make_batch_identifier
from great_expectations.datasource.fluent.interfaces import (
    Batch,
    DataAsset,
    Datasource,
    TestConnectionError,
)
from great_expectations.exceptions import InvalidBatchRequestError
from great_expectations.exceptions.exceptions import BuildBatchRequestError

from quality_rules.gx import metrics as _metrics  # noqa: F401  # pyright: ignore[reportUnusedImport]  - what the engine answers
from quality_rules.gx.engine import DeltaBatchSpec, PolarsExecutionEngine, Rows, RowsBatchSpec


class _PolarsAsset(DataAsset):
    """An asset that is one batch, chosen by the options of the request."""

    _options: ClassVar[frozenset[str]] = frozenset()
    _required: ClassVar[frozenset[str]] = frozenset()

    def test_connection(self) -> None:
        """Nothing is connected to."""

    def get_batch_parameters_keys(self, partitioner: Any = None) -> tuple[str, ...]:
        """The options of a batch."""
        return tuple(sorted(self._options))

    def build_batch_request(
        self,
        options: dict[str, Any] | None = None,
        batch_slice: Any = None,
        partitioner: Any = None,
    ) -> BatchRequest[Any]:
        """A request for the rows that the options name.

        Raises:
            BuildBatchRequestError: when an option is missing or unknown, or a part is asked for.
        """
        given = frozenset(options or {})
        if batch_slice is not None or partitioner is not None:
            raise BuildBatchRequestError(message=f"'{self.name}' is one batch; filter its rows")
        if not self._required <= given <= self._options:
            raise BuildBatchRequestError(
                message=f"'{self.name}' takes {', '.join(sorted(self._options))}, not {', '.join(sorted(given)) or 'nothing'}"
            )
        return BatchRequest(
            datasource_name=self.datasource.name, data_asset_name=self.name, options=options or {}
        )

    def _validate_batch_request(self, batch_request: BatchRequest[Any]) -> None:
        mine = (self.datasource.name, self.name)
        if (batch_request.datasource_name, batch_request.data_asset_name) != mine:
            raise InvalidBatchRequestError(f"the request is not for '{self.name}'")

    def get_batch_identifiers_list(self, batch_request: BatchRequest[Any]) -> list[dict[str, Any]]:
        """The one batch."""
        return [IDDict(batch_request.options)]

    def _batch_spec(self, options: dict[str, Any]) -> Any:
        raise NotImplementedError

    def get_batch(self, batch_request: BatchRequest[Any]) -> Batch:
        """The batch, not read yet."""
        self._validate_batch_request(batch_request)
        spec = self._batch_spec(batch_request.options)
        data, markers = self.datasource.get_execution_engine().get_batch_data_and_markers(spec)
        return Batch(
            datasource=self.datasource,
            data_asset=self,
            batch_request=batch_request,
            data=data,
            metadata=self._get_batch_metadata_from_batch_request(
                batch_request, ignore_options=("dataframe",)
            ),
            batch_markers=markers,
            batch_spec=spec,
            batch_definition=LegacyBatchDefinition(
                datasource_name=self.datasource.name,
                data_connector_name="fluent",
                data_asset_name=self.name,
                batch_identifiers=make_batch_identifier(batch_request.options),
                batch_spec_passthrough=None,
            ),
        )


class LazyFrameAsset(_PolarsAsset):
    """Rows given with each request: a LazyFrame, a DataFrame, or `Rows` with what goes with them."""

    type: Literal["lazyframe"] = "lazyframe"
    _options = frozenset({"dataframe"})
    _required = frozenset({"dataframe"})

    def _batch_spec(self, options: dict[str, Any]) -> RowsBatchSpec:
        given = options["dataframe"]
        if isinstance(given, pl.LazyFrame | pl.DataFrame):
            given = Rows(given.lazy())
        if not isinstance(given, Rows):
            raise InvalidBatchRequestError(
                f"'dataframe' is a Polars frame, not {type(given).__name__}"
            )
        return RowsBatchSpec(given)


class DeltaAsset(_PolarsAsset):
    """A Delta table by its URI: as it is now, or at the `version` of the request."""

    type: Literal["delta"] = "delta"
    uri: str
    _options = frozenset({"version"})

    def test_connection(self) -> None:
        """Reads the table's log.

        Raises:
            TestConnectionError: when there is no table.
        """
        try:
            pl.scan_delta(self.uri).collect_schema()
        except Exception as error:
            raise TestConnectionError(f"no Delta table at {self.uri}") from error

    def _batch_spec(self, options: dict[str, Any]) -> DeltaBatchSpec:
        return DeltaBatchSpec(uri=self.uri, version=options.get("version"))


#: Below, `type` is the name of a field.
_Engine = type[PolarsExecutionEngine]


class PolarsDatasource(Datasource):
    """Polars rows, judged without pandas."""

    asset_types: ClassVar[list[type[DataAsset]]] = [LazyFrameAsset, DeltaAsset]

    type: Literal["polars"] = "polars"
    assets: list[LazyFrameAsset | DeltaAsset] = pydantic.Field(default_factory=list)

    @property
    def execution_engine_type(self) -> _Engine:
        """The engine of this source's batches."""
        return PolarsExecutionEngine

    def test_connection(self, test_assets: bool = True) -> None:  # noqa: FBT001, FBT002 - as the base class has it
        """Tests each asset, where asked to.

        Raises:
            TestConnectionError: when an asset's table cannot be read.
        """
        for asset in self.assets if test_assets else ():
            asset.test_connection()
