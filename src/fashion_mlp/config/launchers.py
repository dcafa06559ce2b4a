"""Launchers of Hydra that come with an extra of this package."""

import shutil
from importlib.metadata import PackageNotFoundError, version

# The package that has each, and the extra that installs it.
LAUNCHERS = {
    "joblib": ("hydra-joblib-launcher", "sweep"),
    "slurm": ("hydra-submitit-launcher", "slurm"),
    "submitit_local": ("hydra-submitit-launcher", "slurm"),
    "submitit_slurm": ("hydra-submitit-launcher", "slurm"),
}


def launcher_error(launcher: str) -> str:
    """Return why a launcher cannot be used here and what to do; nothing if it can, or is not one of ours."""
    package, extra = LAUNCHERS.get(launcher, ("", ""))
    try:
        if package:
            version(package)
    except PackageNotFoundError:
        return f"hydra/launcher={launcher}: needs python -m pip install -e '.[{extra}]'"
    if launcher.endswith("slurm") and shutil.which("srun") is None:
        return f"hydra/launcher={launcher}: this machine has no SLURM (no srun); use hydra/launcher=joblib"
    return ""
