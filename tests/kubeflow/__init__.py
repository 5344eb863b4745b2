"""Kubeflow Pipelines for tests: what a real server was seen to do, and a stand-in held to it."""
