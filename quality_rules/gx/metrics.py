"""The metrics that our engine answers, registered under the names that the expectations ask for.

Each is registered as Great Expectations registers aggregates of SQL and Spark: the metric itself has
no function, and its `.aggregate_fn` returns the expression, so that the engine gets all in one bundle.
"""

# pyright: reportPrivateImportUsage=false, reportArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import great_expectations.expectations.core  # noqa: F401  # pyright: ignore[reportUnusedImport]  - registers the metrics' names
import polars as pl
from great_expectations.constants import MAX_RESULT_RECORDS
from great_expectations.core.metric_function_types import (
    MetricFunctionTypes,
    MetricPartialFunctionTypes,
)
from great_expectations.expectations import registry
from great_expectations.expectations.metrics.metric_provider import MetricProvider

from quality_rules.aggregates import Verdict, judge_aggregate
from quality_rules.gx.aggregates import COLUMN_METRICS
from quality_rules.gx.engine import Aggregate, OfRows, PolarsBatchData, PolarsExecutionEngine
from quality_rules.gx.predicates import MAP_METRICS, MapMetric, NotJudgeableError, applies
from quality_rules.rule import Rule, RuleKind
from quality_rules.unjudged import is_broken

#: What stands for a value that nobody outside the lake may see.
HIDDEN = "***"

#: The rows that break a rule of ours for which the core vocabulary has no expectation.
RULE_METRIC = "table_rows.rule"

#: The verdict of a rule of ours on the table as a whole.
TABLE_RULE_METRIC = "table.rule"

_TABLE_DOMAIN = ("batch_id", "table", "row_condition", "condition_parser")
_RULE_KEYS = ("kind", "columns", "params")

Answer = Callable[[PolarsBatchData, dict[str, Any]], Aggregate | OfRows]


class PolarsMetric(MetricProvider):
    """A metric of our engine; what it is stands in the tables of this package."""


# ---- MAP METRICS ---- #


def _answers(metric: MapMetric) -> Iterator[tuple[str, Answer]]:
    """The metrics that go with a map metric, by their suffix."""

    def unexpected(batch: PolarsBatchData, arguments: dict[str, Any]) -> pl.Expr:
        _known(metric.columns(arguments), batch)
        return metric.unexpected(arguments, batch.types)

    def count(batch: PolarsBatchData, arguments: dict[str, Any]) -> OfRows:
        return _how_many(unexpected(batch, arguments))

    def values(batch: PolarsBatchData, arguments: dict[str, Any]) -> Aggregate | OfRows:
        result_format = arguments["result_format"]
        if result_format.get("exclude_unexpected_values"):
            return Aggregate(pl.lit(None), lambda _: [])
        names = metric.columns(arguments)
        shown = _shown(names, batch)
        broken = unexpected(batch, arguments)
        if "column" in arguments:
            return _first(shown[0], broken, result_format)
        found = _first(pl.struct(shown), broken, result_format)
        # Pairs are told as tuples, wider rows as mappings: as the other engines do.
        return replace(found, finish=_pairs) if "column_A" in arguments else found

    def index_list(batch: PolarsBatchData, arguments: dict[str, Any]) -> OfRows:
        result_format = arguments["result_format"]
        keys: list[str] | None = result_format.get("unexpected_index_column_names")
        broken = unexpected(batch, arguments)
        if not keys:
            return _first(pl.int_range(pl.len()), broken, result_format)
        _known(keys, batch)
        also = [] if result_format.get("exclude_unexpected_values") else metric.columns(arguments)
        names = list(dict.fromkeys((*also, *keys)))
        return _first(pl.struct(_shown(names, batch)), broken, result_format)

    def filtered(_batch: PolarsBatchData, arguments: dict[str, Any]) -> Aggregate:
        spoken_of = applies(arguments, metric.columns(arguments))
        return Aggregate(pl.len() if spoken_of is None else spoken_of.sum().cast(pl.Int64))

    def no_query(_batch: PolarsBatchData, _arguments: dict[str, Any]) -> Aggregate:
        return Aggregate(pl.lit(None))  # the keys of the rows say it

    yield "unexpected_count", count
    yield "unexpected_values", values
    yield "unexpected_index_list", index_list
    yield "unexpected_index_query", no_query
    yield "filtered_row_count", filtered


def _how_many(broken: pl.Expr) -> OfRows:
    return OfRows(broken, lambda mask: mask.sum().cast(pl.Int64), lambda count: count or 0)


def _first(what: pl.Expr, broken: pl.Expr, result_format: Mapping[str, Any]) -> OfRows:
    """The first of the rows that are unexpected: as many as the result's format shows."""
    limit = min(result_format.get("partial_unexpected_count", 20), MAX_RESULT_RECORDS)
    if result_format["result_format"] == "COMPLETE":
        limit = MAX_RESULT_RECORDS
    return OfRows(broken, lambda mask: what.filter(mask).head(limit).implode(), list)


def _pairs(rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in rows]


def _shown(names: Sequence[str], batch: PolarsBatchData) -> list[pl.Expr]:
    hidden = batch.rows.hidden
    return [pl.lit(HIDDEN).alias(name) if name in hidden else pl.col(name) for name in names]


def _known(names: Sequence[str], batch: PolarsBatchData) -> None:
    for name in names:
        if name not in batch.types:
            raise NotJudgeableError(
                f"there is no column '{name}'; there are {', '.join(batch.types)}"
            )


# ---- OUR RULES ---- #


def _rule_answers() -> Iterator[tuple[str, Answer]]:
    def broken(batch: PolarsBatchData, arguments: dict[str, Any]) -> pl.Expr:
        rule = _rule(arguments)
        if rule.kind is RuleKind.UNIQUE:
            _known(rule.columns, batch)
            domain = {"column_list": rule.columns, "ignore_row_if": "any_value_is_missing"}
            return MAP_METRICS["compound_columns.unique"].unexpected(domain, batch.types)
        return is_broken(rule.valid(dict(batch.types), batch.rows.parents))

    def count(batch: PolarsBatchData, arguments: dict[str, Any]) -> OfRows:
        return _how_many(broken(batch, arguments))

    def index_list(batch: PolarsBatchData, arguments: dict[str, Any]) -> OfRows:
        result_format = arguments["result_format"]
        keys: list[str] = result_format.get("unexpected_index_column_names") or []
        what = pl.struct(_shown(keys, batch)) if keys else pl.int_range(pl.len())
        return _first(what, broken(batch, arguments), result_format)

    yield "unexpected_count", count
    yield "unexpected_index_list", index_list


def _rule(arguments: Mapping[str, Any]) -> Rule:
    return Rule(
        table="",
        name=arguments["rule"],
        kind=RuleKind(arguments["kind"]),
        columns=tuple(arguments["columns"]),
        params=dict(arguments["params"]),
    )


def _table_verdict(
    *,
    execution_engine: PolarsExecutionEngine,
    metric_domain_kwargs: dict[str, Any],
    metric_value_kwargs: Mapping[str, Any],
    **_: Any,
) -> Verdict:
    """What a rule of the whole table says; it reads its own columns, and so has a pass of its own."""
    batch = execution_engine.batch(metric_domain_kwargs)
    rows = execution_engine.get_domain_records(metric_domain_kwargs)
    verdict = judge_aggregate(_rule(metric_value_kwargs), rows, dict(batch.types), batch.rows.facts)
    if verdict.kept is None:
        raise NotJudgeableError(f"not judged: {verdict.observed.get('reason', 'nothing to go by')}")
    return verdict


# ---- TABLES ---- #


def _of_schema(make: Callable[[PolarsBatchData], Any]) -> Answer:
    def answer(batch: PolarsBatchData, _arguments: dict[str, Any]) -> Aggregate:
        value = make(batch)
        return Aggregate(pl.lit(None), lambda _: value)

    return answer


_TABLE_METRICS: Mapping[str, Answer] = {
    "table.row_count": lambda _batch, _arguments: Aggregate(pl.len()),
    "table.columns": _of_schema(lambda batch: list(batch.types)),
    "table.column_count": _of_schema(lambda batch: len(batch.types)),
    "table.column_types": _of_schema(
        lambda batch: [{"name": name, "type": str(dtype)} for name, dtype in batch.types.items()]
    ),
}


def _of_column(make: Callable[..., Aggregate]) -> Answer:
    def answer(batch: PolarsBatchData, arguments: dict[str, Any]) -> Aggregate:
        _known([arguments["column"]], batch)
        return make(arguments, batch.types)

    return answer


# ---- REGISTRATION ---- #


def _all() -> Iterator[tuple[str, Answer]]:
    yield from _TABLE_METRICS.items()
    for name, make in COLUMN_METRICS.items():
        yield name, _of_column(make)
    for name, metric in MAP_METRICS.items():
        for suffix, answer in _answers(metric):
            yield f"{name}.{suffix}", answer
    for suffix, answer in _rule_answers():
        yield f"{RULE_METRIC}.{suffix}", answer


def _provider(
    answer: Answer,
) -> Callable[..., tuple[Aggregate | OfRows, dict[str, Any], dict[str, Any]]]:
    """The function that Great Expectations calls for the aggregate and its rows."""

    def provide(
        *,
        execution_engine: PolarsExecutionEngine,
        metric_domain_kwargs: Mapping[str, Any],
        metric_value_kwargs: Mapping[str, Any],
        **_: Any,
    ) -> tuple[Aggregate | OfRows, dict[str, Any], dict[str, Any]]:
        batch = execution_engine.batch(metric_domain_kwargs)
        aggregate = answer(batch, {**metric_domain_kwargs, **metric_value_kwargs})
        rows = {
            key: metric_domain_kwargs[key]
            for key in ("batch_id", "row_condition")
            if metric_domain_kwargs.get(key)
        }
        return aggregate, rows, {}

    return provide


def _keys(name: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """A metric's keys as its name is registered with; None for one that this version has not."""
    if name.startswith(RULE_METRIC):
        also = ("result_format",) if name.endswith("index_list") else ()
        return _TABLE_DOMAIN, ("rule", *_RULE_KEYS, *also)
    known: Mapping[str, Any] = registry._registered_metrics  # pyright: ignore[reportPrivateUsage] - the only place that tells a metric's keys
    if name not in known:
        return None
    return known[name]["metric_domain_keys"], known[name]["metric_value_keys"]


def _register() -> None:
    for name, answer in _all():
        if (keys := _keys(name)) is None:
            continue
        for registered, provider in ((f"{name}.aggregate_fn", _provider(answer)), (name, None)):
            registry.register_metric(
                metric_name=registered,
                metric_domain_keys=keys[0],
                metric_value_keys=keys[1],
                execution_engine=PolarsExecutionEngine,
                metric_class=PolarsMetric,
                metric_provider=provider,
                metric_fn_type=MetricPartialFunctionTypes.AGGREGATE_FN if provider else None,
            )

    registry.register_metric(
        metric_name=TABLE_RULE_METRIC,
        metric_domain_keys=_TABLE_DOMAIN,
        metric_value_keys=("rule", *_RULE_KEYS),
        execution_engine=PolarsExecutionEngine,
        metric_class=PolarsMetric,
        metric_provider=_table_verdict,
        metric_fn_type=MetricFunctionTypes.VALUE,
    )


_register()
