"""One self-contained page that shows what went in, what was scored and what was found."""

from stack.report.data import ReportData, Score, Series
from stack.report.page import write_report

__all__ = ["ReportData", "Score", "Series", "write_report"]
