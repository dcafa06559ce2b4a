"""Fields of the schema that state what a value may be: a number within a range, or one of several names."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass(frozen=True)
class Range:
    """An interval of numbers; each bound is optional."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def __contains__(self, value: float) -> bool:
        # Written so that NaN lies in no range.
        return (
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
            and float("-inf") < value < float("inf")
        )

    def __str__(self) -> str:
        bounds = (("at least", self.ge), ("greater than", self.gt), ("at most", self.le), ("less than", self.lt))
        return " and ".join(f"{words} {bound}" for words, bound in bounds if bound is not None) or "finite"


def number(
    default: Any = MISSING,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    is_part: bool = False,
) -> Any:
    """Return a dataclass field for a number, or a list of numbers, within a range; with `is_part`, a float up to 1."""
    return field(default=default, metadata={"range": Range(ge, gt, le, lt), "is_part": is_part})


def one_of(*choices: str, default: Any = MISSING) -> Any:
    """Return a dataclass field for one of several names; None passes where the type allows it."""
    return field(default=default, metadata={"choices": choices})
