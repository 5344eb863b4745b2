"""The Kubeflow component `promote`.

Generated from crds/compressionjob.yaml by `make ir`; do not edit.
"""

# ruff: noqa
# No `from __future__ import annotations` here: kfp reads the annotations.

from typing import NamedTuple, Optional

from kfp import dsl


@dsl.component(base_image="fulcrum-components", install_kfp_package=False)
def promote(
    candidate: dsl.Input[dsl.Model],
    evidence: dsl.Input[dsl.Artifact],
    channel: str,
    store: str,
) -> None:
    """Let a channel, a file in a store, hold a candidate whose verdict is Pass.

    Args:
        candidate: What validate measured: a component's artifact, or an ONNX file.
        evidence: What validate made; the gates are decided again from it.
        channel: Name of the channel: `channels/NAME.json` in the store.
        store: Where model and evidence are kept: a directory or a URL, such as s3://....
    """
    from datetime import UTC, datetime

    from fulcrum_pipelines.composed import promote

    promote(channel, candidate.path, evidence.path, store, lambda: datetime.now(UTC))
