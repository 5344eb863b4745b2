"""Bundles of models whose code tries what it must not be able to do."""
