"""A launcher that cannot be used is told in one line."""

from importlib.metadata import PackageNotFoundError

import pytest
from hydra import compose, initialize_config_dir

from fashion_mlp.config import launchers
from fashion_mlp.runtime.errors import UserError
from tests.conftest import CONF, check


@pytest.mark.parametrize(("name", "extra"), [("joblib", "sweep"), ("slurm", "slurm"), ("submitit_local", "slurm")])
def test_an_extra_that_is_not_installed(name: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(launchers, "version", missing)
    with pytest.raises(UserError) as told:
        check(["-m", f"hydra/launcher={name}", "seed=0,1"])
    assert str(told.value) == f"hydra/launcher={name}: needs python -m pip install -e '.[{extra}]'"


def test_slurm_elsewhere_than_on_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launchers, "version", str)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match=r"hydra/launcher=slurm: this machine has no SLURM"):
        check(["-m", "hydra/launcher=slurm", "seed=0,1"])


def test_the_launchers_that_need_nothing() -> None:
    assert launchers.launcher_error("basic") == launchers.launcher_error("of_ones_own") == ""


def test_the_cluster_launcher_is_submitits_with_its_keys() -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra [slurm]")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=["hydra/launcher=slurm"], return_hydra_config=True)
    assert cfg.hydra.launcher._target_.endswith(".SlurmLauncher")
    assert (cfg.hydra.launcher.cpus_per_task, cfg.hydra.launcher.array_parallelism) == (2, 32)
    assert cfg.hydra.launcher.submitit_folder  # a key of the plugin's own
