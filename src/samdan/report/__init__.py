"""What a run says about itself: one HTML page, and a summary for a terminal.

Both are pure functions of the content of ``report.json``. Nothing here opens a file.
"""

from samdan.report.page import render
from samdan.report.terminal import summary

__all__ = ["render", "summary"]
