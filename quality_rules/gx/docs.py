"""Data Docs: the newest results and suites as pages that open from the disk and ask no network for anything.

Great Expectations writes its pages for its content networks. Here each page is rewritten to what lies in
`assets/` (Bootstrap, jQuery, Bootstrap Table, Popper and the solid icons of Font Awesome, with their
licences), and what a page would fetch beside that is an error, not a page without style.
"""

# Great Expectations exports its identifiers and contexts in ways its type stubs do not tell.
# pyright: reportPrivateImportUsage=false, reportArgumentType=false

from __future__ import annotations

import html
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import great_expectations as gx
from great_expectations.core.expectation_suite import ExpectationSuite
from great_expectations.core.expectation_validation_result import (
    ExpectationSuiteValidationResult,
    expectationSuiteValidationResultSchema,
)
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.data_context.types.resource_identifiers import (
    ExpectationSuiteIdentifier,
    ValidationResultIdentifier,
)

from quality_rules.gx import suite as _suite  # noqa: F401  # pyright: ignore[reportUnusedImport]  - registers ours

_ASSETS = Path(__file__).parent / "assets"
_STATIC = "static"
_SITE = "lake"


class DataDocsError(RuntimeError):
    """A page that would ask the network for something: says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """One stored result of a table, and the suite that it was judged by, both as their JSON."""

    table: str
    run_id: str
    checked_at: datetime
    suite: Mapping[str, Any]
    result: Mapping[str, Any]


def write_site(
    folder: Path, validations: Sequence[Validation], *, only: Iterable[str] | None = None
) -> Path:
    """Writes the index, and the pages of each validation and its suite; returns the index.

    With `only`, pages of other tables stay as they are. The folder is the site's own.

    Raises:
        DataDocsError: when there is nothing to show, or when Great Expectations writes a page that needs
            the network.
    """
    chosen = {each.table for each in validations} if only is None else set(only)
    if not chosen & {each.table for each in validations}:
        raise DataDocsError("there is no result to show")
    if only is None:
        for part in ("expectations", "validations"):
            shutil.rmtree(folder / part, ignore_errors=True)
    context = _context(folder)
    pages = [folder / "index.html"]
    results, suites = list[Any](), list[Any]()
    for each in validations:
        result_key, suite_key = _keys(each)
        context.suites.add_or_update(ExpectationSuite(**_escaped_suite(each.suite)))
        context.validation_results_store.set(result_key, _result(each))
        if each.table in chosen:
            results.append(result_key)
            suites.append(suite_key)
            pages += [page_of(folder, each), folder.joinpath(*_suite_path(each.table))]
    context.build_data_docs(resource_identifiers=results, build_index=False)
    context.build_data_docs(resource_identifiers=suites)
    _put_assets(folder / _STATIC)
    for page in dict.fromkeys(pages):
        _rewrite(page, folder)
    return folder / "index.html"


def page_of(folder: Path, validation: Validation) -> Path:
    """Where a validation's page lies."""
    return folder.joinpath("validations", *_keys(validation)[0].to_tuple()).with_name(
        f"{_batch_id(validation)}.html"
    )


def _suite_path(table: str) -> tuple[str, ...]:
    *folders, name = table.split(".")
    return ("expectations", *folders, f"{name}.html")


def _batch_id(validation: Validation) -> str:
    return str(validation.result.get("batch_id") or validation.table)


def _keys(validation: Validation) -> tuple[ValidationResultIdentifier, ExpectationSuiteIdentifier]:
    suite = ExpectationSuiteIdentifier(name=validation.table)
    run = RunIdentifier(run_name=_file_name(validation.run_id), run_time=validation.checked_at)
    result = ValidationResultIdentifier(
        expectation_suite_identifier=suite, run_id=run, batch_identifier=_batch_id(validation)
    )
    return result, suite


def _file_name(run_id: str) -> str:
    return re.sub(r"[^\w.-]+", "-", run_id)


def _context(folder: Path) -> Any:
    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {
            "class_name": "TupleFilesystemStoreBackend",
            "base_directory": str(folder.absolute()),
        },
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
        data_docs_sites={_SITE: site},
    )
    return gx.get_context(mode="ephemeral", project_config=config)


# ---- WHAT IS SHOWN ---- #


def _result(validation: Validation) -> ExpectationSuiteValidationResult:
    loaded: Any = expectationSuiteValidationResultSchema.load(dict(validation.result))
    result = (
        loaded
        if isinstance(loaded, ExpectationSuiteValidationResult)
        else ExpectationSuiteValidationResult(**loaded)
    )
    result.meta["run_id"] = _keys(validation)[0].run_id
    for each in result.results:
        expectation: Any = each.expectation_config
        expectation.description = _shown(expectation.description)
        if keys := each.result.get("partial_unexpected_index_list"):
            # Results hold keys and no values; the pages have a table for values alone.
            each.result["partial_unexpected_list"] = [
                ", ".join(f"{name} {value}" for name, value in key.items()) for key in keys
            ]
    return result


def _escaped_suite(suite: Mapping[str, Any]) -> dict[str, Any]:
    expectations = [
        {**each, "description": _shown(each.get("description"))} for each in suite["expectations"]
    ]
    return {**suite, "expectations": expectations}


def _shown(description: str | None) -> str | None:
    """A description as the pages' templates want it: markup and dollars are theirs."""
    return description and html.escape(description, quote=False).replace("$", "&#36;")


# ---- PAGES THAT NEED NO NETWORK ---- #

_STYLES = ("bootstrap.min.css", "bootstrap-table.min.css", "fontawesome.min.css", "solid.min.css")
_SCRIPTS = ("jquery.min.js", "popper.min.js", "bootstrap.min.js", "bootstrap-table.min.js")
_OWN = "medallion.css"

_REMOTE_TAGS = re.compile(
    r"""<script\s[^>]*src="https?://[^"]*"[^>]*>\s*</script>|<link\s[^>]*href="https?://[^"]*"[^>]*>"""
)
_LEFT_OUT = re.compile(
    r"""<footer>.*?</footer>|<link rel="shortcut icon"[^>]*>|<img\s[^>]*class="NO-CACHE".*?/>""",
    re.DOTALL,
)
_LINK_TO_MAKER = re.compile(r"""<a href="https?://[^"]*">(.*?)</a>""", re.DOTALL)
_REMOTE_IMAGE = re.compile(r"""background:\s*url\('https?://[^']*'\)[^;]*;""")
_FETCHED = re.compile(
    r"""(?:src|href)\s*=\s*["']\s*(?:https?:)?//[^"']*|url\(\s*["']?(?:https?:)?//[^)]*|@import[^;]*"""
)


def _rewrite(page: Path, folder: Path) -> None:
    text = page.read_text(encoding="utf-8")
    static = os.path.relpath(folder / _STATIC, page.parent).replace(os.sep, "/")
    for pattern, replacement in (
        (_REMOTE_TAGS, ""),
        (_LEFT_OUT, ""),
        (_LINK_TO_MAKER, r"\1"),
        (_REMOTE_IMAGE, ""),
    ):
        text = pattern.sub(replacement, text)
    text = text.replace("<style>", f"{_tags(static)}<style>", 1)
    # After the pages' own style, so that ours holds.
    text = text.replace("</head>", f'<link rel="stylesheet" href="{static}/{_OWN}"></head>', 1)
    if fetched := _FETCHED.search(text):
        raise DataDocsError(f"{page.name} would fetch {fetched[0]}")
    page.write_text(text, encoding="utf-8")


def _tags(static: str) -> str:
    icon = f'<link rel="shortcut icon" href="{static}/favicon.ico">'
    styles = [f'<link rel="stylesheet" href="{static}/{name}">' for name in _STYLES]
    scripts = [f'<script src="{static}/{name}"></script>' for name in _SCRIPTS]
    return "".join((icon, *styles, *scripts))


def _put_assets(static: Path) -> None:
    """Our assets instead of the pictures that Great Expectations copies beside its pages."""
    icon = static / "images" / "favicon.ico"
    if icon.exists():
        shutil.copyfile(icon, static / "favicon.ico")
    for part in ("fonts", "images", "styles"):
        shutil.rmtree(static / part, ignore_errors=True)
    shutil.copytree(_ASSETS, static, dirs_exist_ok=True)
