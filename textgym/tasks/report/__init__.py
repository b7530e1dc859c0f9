"""Tables of facts put into sentences: the task, and the tables it brings along."""

from textgym.tasks.report.task import Report

__all__ = ["Report"]
