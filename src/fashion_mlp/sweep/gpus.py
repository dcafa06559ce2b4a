"""A GPU for each of the jobs that run beside each other on a machine with several."""

from multiprocessing import parent_process

from omegaconf import DictConfig


def assign_gpu(cfg: DictConfig, number: int) -> None:
    """Assign a job that runs in a worker process one of several GPUs, in turn, unless the user chose devices.

    Args:
        cfg: the job's configuration, whose `trainer.devices` becomes the one GPU.
        number: of the job.
    """
    wanted = cfg.trainer.accelerator in ("auto", "cuda", "gpu") and cfg.trainer.devices == 1
    if wanted and parent_process() is not None and (count := _gpu_count()) > 1:
        cfg.trainer.devices = [number % count]


def _gpu_count() -> int:
    import torch  # heavy, so not before a job really runs

    return torch.cuda.device_count()
