"""What a run says about itself: one HTML page, a summary for a terminal, data cards.

All are pure functions of the content of ``report.json``. Nothing here opens a file.
"""

from samdan.report.card import markdown as data_card
from samdan.report.page import render
from samdan.report.terminal import summary

__all__ = ["data_card", "render", "summary"]
