"""The report of a run: one HTML file that needs nothing else, and the table for the terminal.

A team shows it to the people who decide, so it names the measurements, their certainty, and the
missing ones. It reads evidence and a verdict and decides nothing itself.
"""

from fulcrum_pipelines.report.page import render

__all__ = ["render"]
