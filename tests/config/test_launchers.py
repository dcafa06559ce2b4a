"""A launcher that cannot be used is reported in one line."""

from collections.abc import Callable

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from fashion_mlp.config.command_line import initialize_hydra
from fashion_mlp.config.overrides import parse_overrides
from fashion_mlp.runtime.errors import UserError
from tests.conftest import CONF, check


@pytest.mark.parametrize(("name", "extra"), [("joblib", "sweep"), ("slurm", "slurm"), ("submitit_local", "slurm")])
def test_a_missing_extra_is_named(name: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with initialize_hydra():
        repository = GlobalHydra.instance().config_loader().repository  # type: ignore[attr-defined]
        get_options: Callable[[str], list[str]] = repository.get_group_options
        monkeypatch.setattr(
            repository,
            "get_group_options",
            lambda group: [option for option in get_options(group) if not option.startswith(("joblib", "submitit"))],
        )
        _, _, problems = parse_overrides([f"hydra/launcher={name}"])
    assert problems == [f"hydra/launcher={name}: not installed. Type python -m pip install -e '.[{extra}]'"]


def test_slurm_is_refused_outside_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra [slurm]")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match=r"hydra/launcher=slurm: no SLURM on this machine"):
        check(["-m", "hydra/launcher=slurm", "seed=0,1"])


def test_the_slurm_launcher_has_the_keys_of_submitit() -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra [slurm]")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=["hydra/launcher=slurm"], return_hydra_config=True)
    assert cfg.hydra.launcher._target_.endswith(".SlurmLauncher")
    assert (cfg.hydra.launcher.cpus_per_task, cfg.hydra.launcher.array_parallelism) == (2, 32)
    assert cfg.hydra.launcher.submitit_folder  # a key that only the plugin defines
