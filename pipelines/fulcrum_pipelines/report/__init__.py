"""The report of a run: one HTML file that needs nothing else, and the table for the terminal.

It is what a team shows to those who decide, so it says what was measured, with what certainty, and
what was not. It reads evidence and a verdict and decides nothing itself.
"""

from fulcrum_pipelines.report.page import render

__all__ = ["render"]
