"""Train a multilayer perceptron on Fashion-MNIST.

Commands to copy:

    python train.py                                   # 512-512, Adam, 5 epochs; downloads the data
    python train.py data=synthetic                    # on drawn garments, without a network
    python train.py optimizer=sgd                     # another option of a group
    python train.py 'model.hidden_sizes=[256,128]' optimizer.lr=3e-4 data.batch_size=128 trainer.max_epochs=20
    python train.py resume=runs/2026-01-31/12-00-00.000000     # resume an interrupted run
    python train.py hydra.run.dir=runs/a resume=auto  # start a run or resume it, for a scheduler that repeats commands
    python train.py -m optimizer=sgd,adam optimizer.lr=1e-2,1e-3     # a sweep of four runs
    python train.py resume_sweep=runs/2026-01-31/12-00-00.000000-sweep      # resume an interrupted sweep
    python train.py sweep=optuna                      # a search with Optuna; extra [sweep]
    python train.py trainer=ddp trainer.devices=4     # four devices
    python train.py --cfg job                         # print the configuration of a command
    tensorboard --logdir runs                         # the learning curves of all runs
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports ends the process without a traceback

import sys
from collections.abc import Sequence
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fashion_mlp.config.check_command_line import check_command_line, explain_hydra_errors
from fashion_mlp.config.command_line import normalize, without_outputs
from fashion_mlp.config.resume import expand_resume, start_or_resume
from fashion_mlp.runtime.errors import exit_on_user_error
from fashion_mlp.runtime.failures import importing_torch
from fashion_mlp.runtime.ranks import end_with_parent, is_rank_zero
from fashion_mlp.runtime.run_directory import remove_unless_started
from fashion_mlp.runtime.signals import SIGNALS, exit_on_signal
from fashion_mlp.sweep.job import run_job


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float:
    """Run one job; return the objective of a sweep."""
    hydra_cfg = HydraConfig.get()
    if hydra_cfg.mode == RunMode.MULTIRUN:
        return run_job(cfg, hydra_cfg, train)
    with exit_on_user_error():
        return start_or_resume(cfg, hydra_cfg, train)


def train(cfg: DictConfig, overrides: Sequence[str], **options: Any) -> float:
    """Import torch and train."""
    with importing_torch():
        from fashion_mlp import training
    return training.train(cfg, overrides, **options)


if __name__ == "__main__":
    end_with_parent()
    with exit_on_user_error(), remove_unless_started():
        for signum in SIGNALS:
            signal.signal(signum, exit_on_signal)
        argv = expand_resume(normalize(sys.argv[1:]))
        check_command_line(argv)
        sys.argv[1:] = argv if is_rank_zero() else without_outputs(argv)
        with explain_hydra_errors():
            main()
