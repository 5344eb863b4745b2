"""The bounds of a job's life that the operator's settings give."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of every loop of a job's life.

    Attributes:
        poll_s: How often a run is looked at.
        first_backoff_s: Before the second attempt; doubled for each further one.
        longest_backoff_s: The most that it becomes.
        evidence_retries: More attempts after a run without readable evidence.
        engine_silence_s: A run that the engine knows nothing of for this long is lost.
        cancel_limit_s: A run that cannot be stopped for this long no longer holds a deleted job.
        version: Of Fulcrum, which plans carry.
    """

    version: str
    poll_s: float = 2.0
    first_backoff_s: float = 1.0
    longest_backoff_s: float = 60.0
    evidence_retries: int = 1
    engine_silence_s: float = 300.0
    cancel_limit_s: float = 60.0

    def backoff_s(self, failures: int) -> float:
        """Return the pause after the `failures`-th failure of a job, in seconds."""
        return float(
            min(self.first_backoff_s * 2.0 ** max(failures - 1, 0), self.longest_backoff_s)
        )
