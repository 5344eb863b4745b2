"""Metrics of the operator: families as data, an object that counts, a page made from the same."""

from fulcrum_operator.metrics.collector import Sources
from fulcrum_operator.metrics.labels import model_label
from fulcrum_operator.metrics.registry import Metrics

__all__ = ["Metrics", "Sources", "model_label"]
