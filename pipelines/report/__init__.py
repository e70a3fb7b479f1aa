"""Reports for people: a page a domain, declared as data beside its contracts."""

from pipelines.report.check import faults_of, refuse_faulty, tables_in
from pipelines.report.each import EachReport, listing_of, load_each, write_each
from pipelines.report.page import Page, page_of, write_index, write_page
from pipelines.report.spec import Chart, Report, load_reports

__all__ = [
    "Chart",
    "EachReport",
    "Page",
    "Report",
    "faults_of",
    "listing_of",
    "load_each",
    "load_reports",
    "page_of",
    "refuse_faulty",
    "tables_in",
    "write_each",
    "write_index",
    "write_page",
]
