"""Builds the two container images without a daemon or a registry, for tests on a real node.

The Containerfiles are the only definition of the images. This gives them what an ordinary builder
has and a bare machine lacks: a base image, made from the distribution's packages, and archives that
a node imports. The same Containerfiles build with docker or podman (docs/images.md).
"""
