"""Helm, built from its pinned Go module, and the chart's renders that are kept under review."""
