"""Manifests that are accepted and refused, one typed row each.

The same rows are asked of `fulcrum validate` and of a real API server, which must agree.
"""
