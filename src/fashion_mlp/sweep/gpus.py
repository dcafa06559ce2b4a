"""One job a GPU, where the jobs of a sweep run beside each other on a machine with several."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig

POLL_SECONDS = 0.5


@contextmanager
def reserve_gpu(cfg: DictConfig, folder: Path) -> Iterator[None]:
    """Give a job in a worker process a GPU of its own; nothing changes where there are not several, or none is wanted.

    Args:
        cfg: the job's configuration, whose `trainer.devices` becomes the one GPU.
        folder: where the workers of a sweep meet.
    """
    wanted = cfg.trainer.accelerator in ("auto", "cuda", "gpu") and cfg.trainer.devices == 1
    count = _gpu_count() if wanted and parent_process() is not None else 0
    if count < 2:
        yield
        return
    with free_gpu(folder, count) as index:
        cfg.trainer.devices = [index]
        yield


@contextmanager
def free_gpu(folder: Path, count: int) -> Iterator[int]:
    """Hold one of `count` GPUs that no other job holds; wait until there is one. A job that dies gives its GPU back."""
    locks = [FileLock(folder / f".gpu-{index}.lock") for index in range(count)]
    while True:
        for index, lock in enumerate(locks):
            if _taken(lock):
                try:
                    yield index
                finally:
                    lock.release()
                return
        time.sleep(POLL_SECONDS)


def _taken(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def _gpu_count() -> int:
    import torch  # heavy, so not before a job really runs

    return torch.cuda.device_count()
