"""Plots as SVG text, one form a file: intervals, distributions, bars, heat maps, curves, levers."""
