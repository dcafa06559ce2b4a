"""Find the checkpoint of a run, of a sweep or of the newest run."""

from pathlib import Path

from fashion_mlp.config.records import SWEEP_CONFIG
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.run_directory import BEST, CHECKPOINTS, LAST
from fashion_mlp.sweep.job import read_jobs
from fashion_mlp.sweep.leaderboard import rank_jobs

# Stands for the newest run below `RUNS`.
LATEST = "latest"
RUNS = Path("runs")


def names_checkpoint(word: str) -> bool:
    """Return True if a word names a checkpoint: a file, the directory of a run or sweep, or `latest`."""
    is_directory = Path(word, CHECKPOINTS).is_dir() or Path(word, SWEEP_CONFIG).is_file()
    return word.endswith(".ckpt") or word == LATEST or is_directory


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint that a path names.

    Args:
        path: a file; the directory of a run, for its best checkpoint or else the last one; the directory of a sweep,
            for the best job of its leaderboard; or `latest`, for the newest run below `RUNS`, also of a sweep.

    Raises:
        UserError: the directory has no checkpoint.
    """
    if path == Path(LATEST) and not path.exists():
        directories = [directory for directory in RUNS.rglob(CHECKPOINTS) if any(directory.glob("*.ckpt"))]
        if not directories:
            raise UserError(f"{path}: no checkpoint below {RUNS.resolve()}. Expected the path of a checkpoint or run")
        return find_checkpoint(max(directories, key=lambda directory: directory.stat().st_mtime).parent)
    if not path.is_dir():
        return path
    groups = rank_jobs(read_jobs(path))
    run_dir = groups[0][0].directory if groups else path
    found = [run_dir / CHECKPOINTS / name for name in (BEST, LAST) if (run_dir / CHECKPOINTS / name).is_file()]
    if not found:
        raise UserError(f"{path}: no checkpoint. Expected a file, or the directory of a run with {CHECKPOINTS}/{BEST}")
    return found[0]
