"""Read an operator's `/metrics`, for tests that compare figures before and after."""

from __future__ import annotations

from dataclasses import dataclass

from operators import OperatorProcess
from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Scrape:
    """All samples of one moment."""

    text: str

    def __call__(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of that name that have these labels; 0 for none."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def scrape(operator: OperatorProcess) -> Scrape:
    """Look now."""
    status, text = operator.get("metrics")
    assert status == 200
    return Scrape(text)
