"""`MetricLabel`: name, unit and direction of a result's figures, and how they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from experiments.results.text_table import number

if TYPE_CHECKING:
    from mapping.training.metrics import Metric


@dataclass(frozen=True)
class MetricLabel:
    """The metric of the figures of `experiments.results.result.Accuracy`, by default accuracy in percent.

    ``low``, ``high``: the least and the greatest value that is possible; None: there is none.
    """

    name: str = "accuracy"
    unit: str = "%"
    higher_is_better: bool = True
    low: float | None = 0.0
    high: float | None = 100.0

    @classmethod
    def of(cls, metric: Metric) -> MetricLabel:
        """The label of a metric."""
        return cls(metric.name, metric.unit, metric.higher_is_better, *metric.bounds)

    @property
    def is_percentage(self) -> bool:
        """Whether the rest to 100 % is an error that is to be small."""
        return self.unit == "%" and self.high == 100 and self.higher_is_better

    @property
    def axis(self) -> str:
        """``accuracy [%]``; the name alone where there is no unit."""
        return self.name + self.brackets

    @property
    def brackets(self) -> str:
        """The unit in brackets, after a space; empty where there is none."""
        return f" [{self.unit}]" if self.unit else ""

    @property
    def sentence(self) -> str:
        """The sentence on figures under ``accuracy``: ``accuracy.*: perplexity, the lower the better``."""
        direction = "higher" if self.higher_is_better else "lower"
        return f"accuracy.*: {self.axis}, the {direction} the better"

    @property
    def goal(self) -> Literal["max", "min"]:
        """The direction as searches name it."""
        return "max" if self.higher_is_better else "min"

    def digits(self, value: float) -> str:
        """A value without its unit: percent with two decimals, others with four significant digits."""
        return f"{value:.2f}" if self.unit == "%" else number(value)

    def text(self, value: float) -> str:
        """A value with its unit, where that is a symbol."""
        return self.digits(value) + self.symbol

    @property
    def symbol(self) -> str:
        """The unit as it follows a number; empty where it is no symbol but words."""
        return f" {self.unit}" if self.unit and " " not in self.unit else ""

    def within(self, value: float) -> float:
        """The value, or the bound that it is beyond."""
        low = value if self.low is None else max(value, self.low)
        return low if self.high is None else min(low, self.high)

    def reaches(self, value: float, threshold: float) -> bool:
        """Whether a value is as good as the threshold, or better."""
        return value >= threshold if self.higher_is_better else value <= threshold


ACCURACY = MetricLabel()
"""Of results that say nothing else."""
