"""What a search varies and what it keeps, from overrides in Hydra's syntax."""

from collections.abc import Iterable, Mapping
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from fashion_mlp.runtime.errors import UserError

WIDTH, DEPTH, HIDDEN_SIZES = "model.width", "model.depth", "model.hidden_sizes"


class Space:
    """The keys that a search varies, each with a distribution, and the overrides that all of its trials share.

    `model.width` and `model.depth` are no keys of a run: a trial gets the `model.hidden_sizes` that they make.

    Args:
        overrides: of the sweep's configuration and then of the command line, where a later one takes the place of
            an earlier one of the same key.

    Raises:
        UserError: a sweep that cannot be drawn from.
    """

    def __init__(self, overrides: Iterable[Override]) -> None:
        by_key = {override.key_or_group: override for override in overrides}
        if HIDDEN_SIZES in by_key:
            by_key = {key: override for key, override in by_key.items() if key not in (WIDTH, DEPTH)}
        elif (WIDTH in by_key) != (DEPTH in by_key):
            raise UserError(f"{WIDTH}, {DEPTH}: a search needs both, or {HIDDEN_SIZES}")
        self.distributions = {
            key: distribution(override) for key, override in by_key.items() if override.is_sweep_override()
        }
        # Each override as it was typed, by its key.
        self.text = {key: str(override.input_line) for key, override in by_key.items()}
        self._prefixes = {key: by_key[key].get_key_element() for key in self.distributions}

    def suggest(self, trial: Trial) -> None:
        """Give a trial a value of each key that is varied; those that it has already stay."""
        for name, among in self.distributions.items():
            if isinstance(among, FloatDistribution):
                trial.suggest_float(name, among.low, among.high, step=among.step, log=among.log)
            elif isinstance(among, IntDistribution):
                trial.suggest_int(name, among.low, among.high, step=among.step, log=among.log)
            elif isinstance(among, CategoricalDistribution):
                trial.suggest_categorical(name, among.choices)

    def overrides(self, params: Mapping[str, Any], *, sweep: bool = True) -> list[str]:
        """Return all overrides of a trial; without `sweep=...` they are those of a run of its own."""
        fixed = [text for key, text in self.text.items() if key not in self.distributions and (sweep or key != "sweep")]
        return fixed + self.searched(params)

    def searched(self, params: Mapping[str, Any]) -> list[str]:
        """Return the overrides of a trial's own."""
        values = {self._prefixes[name]: self._written(name, value) for name, value in params.items()}
        if WIDTH in values:
            width, depth = values.pop(WIDTH), values.pop(DEPTH)
            values[HIDDEN_SIZES] = f"[{','.join([width] * int(depth))}]"
        return [f"{key}={value}" for key, value in values.items()]

    def _written(self, name: str, value: Any) -> str:
        """Write a value with four digits, which is what the trial runs with: a command that can be read and typed."""
        among = self.distributions[name]
        if isinstance(among, FloatDistribution) and among.low <= float(f"{value:.4g}") <= among.high:
            return f"{value:.4g}"
        return str(value)


def distribution(override: Override) -> BaseDistribution:
    """Return what Optuna draws from for a sweep of Hydra's.

    A range ends before its stop, as in a grid; the options of a choice are kept as one types them.

    Raises:
        UserError: there is nothing to draw from, or Optuna has no such distribution.
    """
    sweep = override.value()
    try:
        if isinstance(sweep, IntervalSweep):
            assert sweep.start is not None
            assert sweep.end is not None
            return _between(sweep.start, sweep.end, log="log" in sweep.tags)
        if isinstance(sweep, RangeSweep) and not sweep.shuffle:
            values: list[Any] = sorted(override.sweep_iterator())
            return _between(values[0], values[-1], log="log" in sweep.tags, step=abs(sweep.step))
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    except (ValueError, IndexError) as error:
        reason = "is empty" if isinstance(error, IndexError) else str(error)
        raise UserError(f"{override.input_line}: cannot be searched: {reason}") from error


def _between(low: float, high: float, *, log: bool, step: float | None = None) -> BaseDistribution:
    if isinstance(low, int) and isinstance(high, int) and isinstance(step, int | None):
        return IntDistribution(low, high, log=log, step=step or 1)
    return FloatDistribution(low, high, log=log, step=step)
