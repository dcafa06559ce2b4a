"""Parse the overrides of a command line, and check the options that they choose."""

import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from fashion_mlp.config.command_line import hydra_quote, parse_override
from fashion_mlp.config.messages import did_you_mean, format_value
from fashion_mlp.config.schema import LAYER_KEYS

# Keys that may be removed with `~`.
REMOVABLE = re.compile(r"(callbacks|logger|metrics)\.\w+|hydra\..+")
# Groups whose option may be null.
OPTIONAL = ("experiment", "sweep")
# Launchers that come with an extra of this project, and the option of a plugin that `conf/` builds on.
EXTRAS = {"joblib": "sweep", "slurm": "slurm", "submitit_local": "slurm", "submitit_slurm": "slurm"}
PLUGINS = {"slurm": "submitit_slurm"}
# Most values of one key in a sweep.
MAX_VALUES = 10_000


def parse_overrides(texts: Sequence[str]) -> tuple[list[Override], list[Override], list[str]]:
    """Return the overrides that choose valid options, those of single keys, and a line for each mistake."""
    loader = GlobalHydra.instance().config_loader()
    parser = OverridesParser.create(config_loader=loader)
    repository: Any = loader.repository  # type: ignore[attr-defined]  # methods of the loader copy all of it
    choices, settings, problems = [], [], []
    for text in _rejoin(texts):
        try:
            (override,) = parser.parse_overrides([text])
            found = sweep_values(override)
        except (HydraException, ValueError, RecursionError) as error:  # of Python: numbers too long, brackets too deep
            problems.append(f"{text if text.strip() else repr(text)}: {_parse_problem(text, error)}")
            continue
        key = override.key_or_group
        options = [name for name in repository.get_group_options(key) if not name.startswith("_")] if key else []
        if text not in texts:
            problems.append(f"{text}: typed with spaces. Type {shlex.quote(text)}")
        elif key == "run_dir":
            problems.append(f"{text}: follows from hydra.run.dir. Type hydra.run.dir={text.partition('=')[2]}")
        elif not key:
            problems.append(f"{text}: no key. Expected key=value")
        elif options:
            lines = list(_group_problems(override, found, options))
            problems += lines
            choices += [] if lines else [override]
        elif override.is_delete() and not REMOVABLE.fullmatch(key):
            removable = "Callbacks and loggers can be removed, such as ~callbacks.learning_curves"
            problems.append(f"{text}: required. {removable}")
        else:
            settings.append(override)
    return choices, settings, problems


def _rejoin(texts: Sequence[str]) -> list[str]:
    """Join arguments that the shell has split at spaces within brackets or around `=`."""
    line = re.sub(r"\[[^]=]*\]", lambda match: re.sub(r",?\0", ",", match[0]), "\0".join(texts))
    line = re.sub(r"\0=\0?|=\0(?=[^\0=]+(\0|$))", "=", line)
    return line.split("\0") if texts else []


def _parse_problem(text: str, error: Exception) -> str:
    if not text.strip():
        return "empty argument; is a shell variable empty?"
    if any(text.count(quote) % 2 for quote in "'\""):
        return "a quote is not closed"
    if any(text.count(opening) > text.count(closing) for opening, closing in ("[]", "{}", "()")):
        return "a bracket is not closed"
    key, is_assigned, value = text.partition("=")
    if not is_assigned:
        return "no value. Expected key=value"
    message = " ".join(str(error).split()).partition(" See https")[0]
    if isinstance(error, HydraException) and (" while evaluating " not in message or "Unknown function" in message):
        quoted = f"{key}={hydra_quote(value)}"
        as_text = f"; as text, type {shlex.quote(quoted)}" if parse_override(quoted) else ""
        return f"cannot be parsed. Expected key=value or key=[a,b]{as_text}"
    return f"cannot be parsed: {message.rpartition(' while evaluating ')[2]}"


def sweep_options(choice: Override) -> list[str]:
    """Return an override for each option of a group that an override chooses."""
    return [f"{choice.get_key_element()}={format_value(option)}" for option in sweep_values(choice)]


def sweep_values(override: Override) -> list[Any]:
    """Return the values that an override sets: one, or each of a sweep up to `MAX_VALUES` and one more."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [value.start, value.end]
    return list(islice(override.sweep_iterator(), MAX_VALUES + 1)) if override.is_sweep_override() else [value]


def search_space(cfg: DictConfig) -> tuple[list[str], list[str]]:
    """Return `hydra.sweeper.params` as overrides, and those of its keys that the configuration lacks."""
    params = OmegaConf.select(cfg, "hydra.sweeper.params")
    if not isinstance(params, DictConfig):
        return [], []
    needed = {str(key): "model.hidden_sizes" if key in LAYER_KEYS else str(key) for key in params}
    # "???" is the mark of OmegaConf for a value that is missing.
    missing = [key for key, name in needed.items() if OmegaConf.select(cfg, name, default="???") == "???"]
    return [f"{key}={params[key]}" for key in needed if key not in missing], missing


def _group_problems(override: Override, found: Sequence[Any], options: Sequence[str]) -> Iterator[str]:
    """Yield a line for each invalid choice of an option of a group."""
    group, text = override.key_or_group, str(override.input_line)
    if override.package is not None or override.is_add() or override.is_delete():
        yield f"{text}: not supported. Type {group}=... (available: {', '.join(options)})"
        return
    if group == "sweep" and override.is_sweep_override():
        yield f"{text}: several options. Expected one"
    if not found:
        yield f"{text}: no such option (available: {', '.join(options)})"
    for chosen in found:
        names, text = chosen if isinstance(chosen, list) else [chosen], f"{group}={format_value(chosen)}"
        unknown = [format_value(name) for name in names if name not in options and (name or group not in OPTIONAL)]
        if isinstance(chosen, list) and group not in ("logger", "metrics"):
            yield f"{text}: several options. Expected one; a sweep is typed -m {group}=a,b"
        elif not names or len(set(map(format_value, names))) < len(names):
            yield f"{text}: invalid value. Expected different options; for none type {group}=none"
        elif group == "hydra/launcher" and chosen in EXTRAS and PLUGINS.get(chosen, chosen) not in options:
            yield f"{text}: not installed. Type python -m pip install -e '.[{EXTRAS[chosen]}]'"
        elif unknown:
            yield f"{text}: no such option{did_you_mean(unknown[0], options)}"
        elif group == "hydra/launcher" and chosen.endswith("slurm") and shutil.which("srun") is None:
            yield f"{text}: no SLURM on this machine. Use hydra/launcher=joblib"
