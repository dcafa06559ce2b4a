"""How a search begins, or goes on where it was stopped."""

import logging
import signal
from collections.abc import Sequence
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from fashion_mlp.errors import UserError
from fashion_mlp.interruption import Interrupted
from fashion_mlp.run_directory import command
from fashion_mlp.search.loop import Search
from fashion_mlp.search.space import Space
from fashion_mlp.search.study import RepeatableSampler, open_study

log = logging.getLogger(__name__)

SQLITE = "sqlite:///"
SPACE = "space"
"""Attribute of a study: the overrides that it was begun with, by key."""


def search(config: DictConfig, arguments: Sequence[str], launcher: Launcher, loader: ConfigLoader) -> None:
    """Run trials until there are as many as `hydra.sweeper.n_trials`, and name the best.

    Args:
        config: of the sweep, composed by Hydra.
        arguments: the overrides of the command line, without those of Hydra's own keys.
        launcher: runs the jobs.
        loader: knows the options of config groups, for a sweep over a glob.

    Raises:
        UserError: the search cannot go on here, or no trial came to its end.
        Interrupted: by Ctrl-C or SIGTERM.
    """
    settings = config.hydra.sweeper
    typed = [f"{key}={value}" for key, value in settings.params.items()] + list(arguments)
    space = Space(OverridesParser.create(config_loader=loader).parse_overrides(typed))
    folder = Path(config.hydra.sweep.dir)
    if not settings.storage.startswith(SQLITE) or settings.storage == SQLITE:
        # A search is resumed on the assumption that it alone works on its database.
        raise UserError(f"hydra.sweeper.storage={settings.storage}: must be {SQLITE} and the path of a file")
    file = Path(settings.storage.removeprefix(SQLITE))
    hydras = [text for text in config.hydra.overrides.hydra if not text.startswith(("hydra.sweep.dir=", "hydra.mode="))]
    again = command([*arguments, *hydras, f"hydra.sweep.dir={folder}"])
    try:
        for needed in (folder, file.parent):
            needed.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock", timeout=0):
            study = open_study(settings.storage, settings.study_name, settings.pruner)
            study.sampler = RepeatableSampler(settings.seed)
            _check_same(study, space, folder)
            OmegaConf.save(config, folder / "multirun.yaml")
            log.info(f"folder    {folder}\nresume    {again}")
            Search(study, space, folder, launcher, settings).run()
    except Timeout as error:
        raise UserError(f"{file}: another search is at work on it") from error
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written ({error.strerror}); set hydra.sweep.dir") from error
    except (KeyboardInterrupt, Interrupted) as error:
        signum = error.signum if isinstance(error, Interrupted) else signal.SIGINT
        raise Interrupted(signum, f"interrupted; go on with: {again}") from error


def _check_same(study: optuna.Study, space: Space, folder: Path) -> None:
    """Check that a study goes on with what it was begun with, and that the folder holds no other sweep.

    Raises:
        UserError: it would compare what cannot be compared, or mix two sweeps.
    """
    if not study.trials:
        if (folder / "0").exists():
            raise UserError(f"hydra.sweep.dir={folder}: holds another sweep already; name another folder")
        study.set_user_attr(SPACE, space.text)
        return
    before = study.user_attrs.get(SPACE, {})
    for key in {**before, **space.text}:
        if before.get(key) != space.text.get(key):
            raise UserError(
                f"{key}: the search in {folder} was begun with {before.get(key, 'its default')}; repeat that, or name "
                "another hydra.sweep.dir"
            )
