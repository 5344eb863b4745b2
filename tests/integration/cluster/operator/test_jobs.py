"""Jobs from `kubectl create` to their end, with a pipeline that takes no time."""

from __future__ import annotations

from collections.abc import Callable

from operators import Jobs, OperatorProcess


def test_job_that_passes_succeeds(new_operator: Callable[..., OperatorProcess], jobs: Jobs) -> None:
    operator = new_operator()
    operator.start()
    status = jobs.ended(jobs.apply("succeed"))
    assert status["phase"] == "Succeeded"
