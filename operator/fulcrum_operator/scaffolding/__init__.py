"""Writes the first manifest, and a bundle where one is needed, around a user's model file."""

from fulcrum_operator.scaffolding.writing import Written, scaffold

__all__ = ["Written", "scaffold"]
