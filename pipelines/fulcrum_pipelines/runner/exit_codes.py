"""Exit codes of pods: the class of the failure, in a number.

A Job keeps only the exit code after its pod is gone, and a Job's failure policy can distinguish
only exit codes. The numbers keep away from those that Python, shells and
signals end with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

from fulcrum_pipelines.errors import FailureClass
from fulcrum_pipelines.texts import to_message

EXIT_CODES: dict[FailureClass, int] = {
    "user": 64,
    "quality": 65,
    "deadline": 66,
    "internal": 70,
    "infrastructure": 75,
}
"""By class. `infrastructure` is what sysexits.h calls a temporary failure."""
CLASSES: dict[int, FailureClass] = {code: name for name, code in EXIT_CODES.items()}
NO_EVIDENCE = 76
"""The stages ended and what they should have left is not in the store."""
REASON = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")
MESSAGE_BYTES = 1500
"""Kubernetes keeps 4096 bytes of a pod's last message, and quoting may double ours."""


@dataclass(frozen=True)
class LastWords:
    """The last message of a pod: the reason for its end.

    Attributes:
        failure_class: As in the store.
        reason: One CamelCase word.
        message: What a user reads.
    """

    failure_class: FailureClass
    reason: str
    message: str

    def as_text(self) -> str:
        """Return it as the pod's termination message."""
        message = self.message.encode()[:MESSAGE_BYTES].decode(errors="ignore")
        return json.dumps({**asdict(self), "message": message}, ensure_ascii=False)


def last_words(text: str) -> LastWords | None:
    """Return what a pod's termination message says, if it is one of ours."""
    try:
        found: Any = json.loads(text)
    except ValueError:
        return None
    if not isinstance(found, Mapping) or found.get("failure_class") not in get_args(FailureClass):
        return None
    reason, message = str(found.get("reason", "")), str(found.get("message", ""))
    reason = reason if REASON.fullmatch(reason) else "PodFailed"  # any code in the pod may write it
    return LastWords(found["failure_class"], reason, to_message(message))
