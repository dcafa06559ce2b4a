"""The search space: the keys that a search varies and those that it keeps, from overrides in Hydra's syntax."""

from collections.abc import Iterable, Mapping
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from fashion_mlp.config.schema import LAYER_KEYS
from fashion_mlp.runtime.errors import UserError

WIDTH, DEPTH = LAYER_KEYS
HIDDEN_SIZES = "model.hidden_sizes"


class Space:
    """The keys that a search varies, each with a distribution, and the overrides that all of its trials share.

    `model.width` and `model.depth` are not keys of a run: a trial gets the `model.hidden_sizes` that they describe.

    Args:
        overrides: those of the sweep's configuration, then those of the command line. A later override replaces an
            earlier one of the same key.
        has_layers: whether the network has the key `model.hidden_sizes`.

    Attributes:
        distributions: the distribution of each varied key.
        fixed: the overrides that do not vary, as they were typed.

    Raises:
        UserError: a sweep that cannot be searched.
    """

    def __init__(self, overrides: Iterable[Override], *, has_layers: bool = True) -> None:
        by_key = {override.key_or_group: override for override in overrides}
        if HIDDEN_SIZES in by_key:
            by_key = {key: override for key, override in by_key.items() if key not in LAYER_KEYS}
        elif has_layers and (WIDTH in by_key) != (DEPTH in by_key):
            raise UserError(f"{WIDTH}, {DEPTH}: a search needs both, or {HIDDEN_SIZES}")
        self.has_layers = has_layers
        self.distributions = {
            key: to_distribution(override) for key, override in by_key.items() if override.is_sweep_override()
        }
        self.fixed = [str(override.input_line) for key, override in by_key.items() if key not in self.distributions]
        self._prefixed = {key: by_key[key].get_key_element() for key in self.distributions}

    def trial_overrides(self, params: Mapping[str, Any]) -> list[str]:
        """Return the overrides of a trial's varied keys."""
        values = {self._prefixed[key]: self._format(key, value) for key, value in params.items()}
        if self.has_layers and WIDTH in values:
            width, depth = values.pop(WIDTH), values.pop(DEPTH)
            values[HIDDEN_SIZES] = f"[{','.join([width] * int(depth))}]"
        return [f"{key}={value}" for key, value in values.items()]

    def _format(self, key: str, value: Any) -> str:
        """Round a value to four digits, unless that would leave its range; the trial runs with the rounded value."""
        distribution = self.distributions[key]
        if not isinstance(distribution, FloatDistribution):
            return str(value)
        rounded = f"{value:.4g}"
        return rounded if distribution.low <= float(rounded) <= distribution.high else str(value)


def to_distribution(override: Override) -> BaseDistribution:
    """Return the Optuna distribution for a Hydra sweep.

    As in a grid, a range ends before its stop. The options of a choice are kept as they were typed.

    Raises:
        UserError: the sweep is empty, or Optuna has no such distribution.
    """
    sweep = override.value()
    try:
        if isinstance(sweep, IntervalSweep):
            return _numeric(sweep.start, sweep.end, log="log" in sweep.tags)
        if isinstance(sweep, RangeSweep) and not sweep.shuffle:
            values: list[Any] = sorted(override.sweep_iterator())
            return _numeric(values[0], values[-1], log="log" in sweep.tags, step=abs(sweep.step))
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    except (ValueError, IndexError) as error:
        reason = "is empty" if isinstance(error, IndexError) else str(error)
        raise UserError(f"{override.input_line}: cannot be searched: {reason}") from error


def _numeric(low: Any, high: Any, *, log: bool, step: float | None = None) -> BaseDistribution:
    if isinstance(low, int) and isinstance(high, int) and isinstance(step, int | None):
        return IntDistribution(low, high, log=log, step=step or 1)
    return FloatDistribution(low, high, log=log, step=step)
