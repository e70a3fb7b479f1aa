"""What a report is: SQL over gold and how its rows are drawn, one YAML file in `<domain>/reports/`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import Field, ValidationError, model_validator

from pipelines.contract import did_you_mean
from pipelines.contract.base import IDENTIFIER, Strict, misplaced
from pipelines.contract.load import explain, read_mapping
from pipelines.errors import ContractError

#: Marks of Vega-Lite that show rows as they are: none fetches anything, none draws a map.
Mark = Literal[
    "arc", "area", "bar", "boxplot", "circle", "line", "point", "rect", "rule", "square", "tick", "trail"
]  # fmt: skip

#: Channels of Vega-Lite that a report may use.
CHANNELS = (
    "x", "y", "x2", "y2", "xOffset", "yOffset", "theta", "radius", "color", "opacity", "size", "shape",
    "strokeDash", "order", "detail", "column", "row", "facet",
)  # fmt: skip

Sql = Annotated[str, Field(min_length=1)]


class Chart(Strict):
    """One picture: a query over gold, and each of its columns' place in it.

    `mark` and `encoding` are Vega-Lite's (https://vega.github.io/vega-lite/docs/encoding.html); what
    it would compute, filter or fetch is the SQL's to do, where lineage sees it.
    """

    name: Annotated[str, Field(pattern=rf"^{IDENTIFIER}$")]
    title: str = Field(min_length=1, description="What is seen: measure, unit, and by what.")
    description: str = Field(default="", description="How to read it, in a sentence or two.")
    sql: Sql
    mark: Mark | dict[str, Any]
    encoding: dict[str, dict[str, Any]] = Field(min_length=1)
    height: int = Field(default=240, ge=40, le=1200, description="Of the plot, in pixels.")

    @property
    def fields(self) -> dict[str, str]:
        """The columns that the channels show."""
        return {c: str(told["field"]) for c, told in self.encoding.items() if "field" in told}

    @model_validator(mode="after")
    def _known_words(self) -> Self:
        for channel in self.encoding:
            if channel not in CHANNELS:
                raise misplaced(
                    f"'{channel}' is no channel of a report",
                    place=("encoding", channel),
                    hint=did_you_mean(channel, CHANNELS) or f"channels are {', '.join(CHANNELS)}",
                )
        kind = self.mark.get("type") if isinstance(self.mark, dict) else self.mark
        if kind not in get_args(Mark):
            raise misplaced(
                f"'{kind}' is no mark of a report",
                place=("mark",),
                hint=did_you_mean(str(kind), get_args(Mark)),
            )
        return self


class Figures(Strict):
    """Numbers at the head of the page: the columns of one row, each with its words."""

    sql: Sql
    labels: dict[str, str] = Field(min_length=1, description="What each column's number is.")


class Report(Strict):
    """A part of a domain's page; the file's name is its place among the others."""

    title: str = Field(min_length=1)
    description: str = Field(min_length=1, description="What questions it answers, and for whom.")
    owner: str = Field(min_length=1)
    figures: Figures | None = None
    charts: tuple[Chart, ...] = Field(min_length=1)
    path: Path = Field(default=Path(), exclude=True)

    @property
    def domain(self) -> str:
        """The folder it belongs to."""
        return self.path.parent.parent.name

    @property
    def name(self) -> str:
        """Its file's name."""
        return self.path.stem

    def queries(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """The SQL of each part, and the columns that are shown of it."""
        shown = {chart.name: (chart.sql, tuple(chart.fields.values())) for chart in self.charts}
        if self.figures is None:
            return shown
        return {"figures": (self.figures.sql, tuple(self.figures.labels)), **shown}

    @model_validator(mode="after")
    def _distinct_names(self) -> Self:
        names = ["figures", *(chart.name for chart in self.charts)]
        for at, name in enumerate(names):
            if name in names[:at]:
                raise misplaced(f"two parts share the name '{name}'", place=("charts", at - 1))
        return self


R = TypeVar("R", bound=Report)


def load_reports(root: Path) -> Mapping[str, tuple[Report, ...]]:
    """The reports below a folder of domains, by domain, in the order of their files.

    Raises:
        ContractError: one error that lists every fault found, each with file, line and hint.
    """
    return load_folder(root, "*/reports/*.yaml", Report)


def load_folder(root: Path, pattern: str, kind: type[R]) -> Mapping[str, tuple[R, ...]]:
    """The reports of one kind in the files of a pattern, by domain, in the order of the files.

    Raises:
        ContractError: one error that lists every fault found, each with file, line and hint.
    """
    found, faults = dict[str, tuple[R, ...]](), list[str]()
    for path in sorted(root.glob(pattern)):
        try:
            report = _load(path, kind)
        except ContractError as error:
            faults.append(str(error))
        else:
            found[report.domain] = (*found.get(report.domain, ()), report)
    if faults:
        raise ContractError("\n".join(faults))
    return found


def _load(path: Path, kind: type[R]) -> R:
    node, document = read_mapping(path, "a report", "start it with 'title:'")
    if "path" in document:
        raise ContractError(f"{path}: 'path' is not a key of a report")
    try:
        return kind.model_validate({**document, "path": path})
    except ValidationError as error:
        raise ContractError(
            "\n".join(explain(path, node, fault, kind, "a report") for fault in error.errors())
        ) from error
