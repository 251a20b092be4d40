"""One self-contained page that shows what went in, what was scored and what was found."""

from stack.report.data import Band, ReportData, Score, Series
from stack.report.page import write_report

__all__ = ["Band", "ReportData", "Score", "Series", "write_report"]
