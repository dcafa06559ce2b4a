"""Run-level records: the configuration, the network, and a row in TensorBoard's HPARAMS.

The row is written with TensorBoard's protocol buffers, since Lightning's `log_hyperparams` adds a point that was not
measured to each curve.
"""

import time
import warnings
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from textwrap import indent
from typing import Any

import torch
import yaml
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, summary_v2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid

from fashion_mlp.classifier import Classifier
from fashion_mlp.config.messages import format_value
from fashion_mlp.config.monitoring import METRICS
from fashion_mlp.data import ImageDataModule
from fashion_mlp.data.image_io import shrink
from fashion_mlp.runtime.failures import warn_on_failure
from fashion_mlp.runtime.run_directory import relative_to_cwd

GROUPS = ("model", "optimizer", "scheduler")
# Number of training images, and their longest side in pixels.
SAMPLES, THUMBNAIL = 32, 64


class RunRecords(Callback):
    """Log the configuration of a run to its loggers; to TensorBoard also its network, some images and a row in HPARAMS.

    Args:
        config: configuration of the run as plain values.
        resumed: True if an earlier process has logged it.
    """

    def __init__(self, config: Mapping[str, Any], *, resumed: bool = False) -> None:
        self.config = config
        self.resumed = resumed

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.resumed or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, Classifier)
        images = trainer.datamodule.training_samples(SAMPLES)  # type: ignore[attr-defined]  # set at run time
        for logger in trainer.loggers:
            logger.log_hyperparams(hyperparameters(self.config))
            if isinstance(logger, TensorBoardLogger):
                log_run(logger, self.config, pl_module.model, images.to(pl_module.device))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if trainer.is_global_zero:
            log_run_end(trainer.loggers, succeeded=False)


def hyperparameters(config: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """Return the options and keys of the groups, and some other keys, as a flat dict, lists as text."""
    values: dict[str, Any] = {key: config[key] for key in ("seed", "label_smoothing")}
    values["data.batch_size"] = config["data"].get("batch_size", ImageDataModule.batch_size)
    values["trainer.max_epochs"] = config["trainer"]["max_epochs"]
    sections = {name: config[name] or {} for name in GROUPS}
    values |= {name: str(keys.get("_target_", "none")).rpartition(".")[2] for name, keys in sections.items()}
    for section, keys in {**sections, "data.augment": config["data"].get("augment") or {}}.items():
        values |= {f"{section}.{key}": value for key, value in keys.items() if not key.startswith("_")}
    return {key: value if type(value) in (bool, int, float) else format_value(value) for key, value in values.items()}


def charts(metrics: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the charts of the tab CUSTOM SCALARS, with the tags of each: value and bounds, or regular expressions.

    A run has the same colour for all tags. The first charts need training and validation metrics at the same steps.
    """
    titles = {name: METRICS.get(name, name) for name in metrics}
    areas = {title: ["Margin", [f"val/{name}", f"train/{name}", f"val/{name}"]] for name, title in titles.items()}
    lines = {title: ["Multiline", [f"^train/{name}$", f"^val/{name}$"]] for name, title in titles.items()}
    return {"validation (line) and training (other edge of the area)": areas, "training and validation": lines}


def log_run(board: TensorBoardLogger, config: Mapping[str, Any], model: nn.Module, images: Tensor) -> None:
    """Log configuration, charts, images, the graph of the network and the row in HPARAMS to TensorBoard.

    Args:
        board: the logger.
        config: configuration of the run as plain values.
        model: the network.
        images: training images, uint8 `[N, C, H, W]`, on the device of the network.
    """
    writer = board.experiment
    text = yaml.safe_dump(dict(config), allow_unicode=True, sort_keys=False)
    writer.add_text("config", indent(text, "    ").rstrip(), 0)
    writer.add_custom_scalars(charts((*METRICS, *config["metrics"])))
    with warn_on_failure("TensorBoard's train/images"):
        writer.add_image("train/images", make_grid(shrink(images, THUMBNAIL)), 0)
    with warn_on_failure("TensorBoard's graph of the model"):
        _add_graph(writer, model, images[:1])
    model.train()  # also after a failure
    directory = relative_to_cwd(Path(board.log_dir))
    name = f"{directory.name} ({directory.parent})"  # unique, or runs share a row; the table shows its beginning
    _add_summary(board, summary_v2.hparams_pb(hyperparameters(config), trial_id=name))


def log_run_end(loggers: Iterable[Logger], *, succeeded: bool) -> None:
    """Log the status of a run to TensorBoard's HPARAMS and to Weights & Biases, and close them."""
    status = api_pb2.STATUS_SUCCESS if succeeded else api_pb2.STATUS_FAILURE
    end = SessionEndInfo(status=status, end_time_secs=time.time())
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            about = metadata.create_summary_metadata(HParamsPluginData(session_end_info=end))
            content = {"tag": metadata.SESSION_END_INFO_TAG, "metadata": about, "tensor": metadata.NULL_TENSOR}
            _add_summary(logger, Summary(value=[Summary.Value(**content)]))
            logger.experiment.close()
        elif isinstance(logger, WandbLogger):  # otherwise the next job of a sweep would log to this run
            logger.experiment.finish(exit_code=int(not succeeded))


def _add_graph(writer: SummaryWriter, model: nn.Module, images: Tensor) -> None:
    """Trace a model in evaluation mode, which changes neither the random state nor the statistics of batch norm."""
    model.eval()
    # torch prints why it cannot trace a model and warns of what a trace does not record.
    with torch.no_grad(), redirect_stdout(None), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace: Any = torch.jit.trace(model, images, check_trace=False)  # type: ignore[no-untyped-call]
        writer.add_graph(trace, images)


def _add_summary(board: TensorBoardLogger, summary: Summary) -> None:
    """Write a message to TensorBoard through a private method, since `SummaryWriter` has no counterpart for HPARAMS."""
    board.experiment._get_file_writer().add_summary(summary)
