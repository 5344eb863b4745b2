"""How often, and after how long, a call is tried again."""

from __future__ import annotations

from dataclasses import dataclass

from fulcrum_operator.kubernetes.errors import ApiError


@dataclass(frozen=True)
class CallPolicy:
    """Bounds of one call.

    Attributes:
        timeout_s: For one try, from waiting for a connection to the last byte.
        deadline_s: For all tries and the pauses between them.
        retries: Further tries after the first one.
        first_pause_s: Upper bound of the first pause; doubled each time.
        longest_pause_s: Upper bound of a pause that the server did not ask for.
        longest_retry_after_s: A server that asks for more gets no further try; the error has
            the time that it asked for.
    """

    timeout_s: float = 10.0
    deadline_s: float = 30.0
    retries: int = 4
    first_pause_s: float = 0.2
    longest_pause_s: float = 5.0
    longest_retry_after_s: float = 10.0


DEFAULT_POLICY = CallPolicy()


def pause_s(policy: CallPolicy, failures: int, error: ApiError, chance: float) -> float | None:
    """Return how long to wait before the next try, or None for no further try.

    Full jitter: anything between nothing and the bound, so that clients which failed together do
    not come back together. After a Retry-After it is added to what the server asked for.

    Args:
        policy: The bounds.
        failures: Tries so far, at least 1.
        error: What the last one ended with.
        chance: Uniform in [0, 1).
    """
    if not error.retryable or failures > policy.retries:
        return None
    asked_s = error.retry_after_s or 0.0
    if asked_s > policy.longest_retry_after_s:
        return None
    bound_s = min(policy.longest_pause_s, policy.first_pause_s * 2.0 ** (failures - 1))
    return asked_s + chance * bound_s
