"""What TensorBoard shows of a run besides its curves: the configuration, the network, a row in HPARAMS.

The row is written in TensorBoard's own protocol: Lightning's `log_hyperparams` would put a point that was never
measured into each chart.
"""

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from omegaconf import OmegaConf
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, summary_v2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from torch import Tensor, nn
from torchvision.utils import make_grid

from fashion_mlp.config import SCHEMAS
from fashion_mlp.validation import shown

LAYOUT = {
    "training and validation": {
        "loss": ["Multiline", ["train/loss", "val/loss"]],
        "accuracy": ["Multiline", ["train/acc", "val/acc"]],
    }
}
"""Charts of the tab CUSTOM SCALARS, each over several tags."""
GROUPS = ("model", "optimizer", "scheduler")
RUN_KEYS = ("seed", "label_smoothing")
METRICS = ("val/acc", "val/loss", "test/acc", "test/loss")
SAMPLES = 32
"""Training images shown."""


@contextmanager
def recorded(loggers: Iterable[Logger], config: Mapping[str, Any], model: nn.Module, images: Tensor) -> Iterator[None]:
    """Give each logger the hyperparameters, TensorBoard what it shows of a run, and at the end how the run ended.

    Args:
        loggers: those of the run, on the first process.
        config: the run's configuration as plain values.
        model: the network.
        images: the first training images, as the network gets them, uint8 `[N, C, H, W]`.
    """
    boards = [logger for logger in loggers if isinstance(logger, TensorBoardLogger)]
    for logger in loggers:
        logger.log_hyperparams(hyperparameters(config))
    for board in boards:
        _describe(board, config, model, images)
    status = api_pb2.STATUS_FAILURE
    try:
        yield
        status = api_pb2.STATUS_SUCCESS
    finally:
        _write(boards, _session_end(status))
        for logger in loggers:
            if isinstance(logger, WandbLogger):  # else the next job of a sweep would write into this run
                logger.experiment.finish(exit_code=int(status != api_pb2.STATUS_SUCCESS))


def hyperparameters(config: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """Return what a run could be swept over, flat: what each group chose, and its keys, lists as text."""
    values: dict[str, str | float | bool] = {}
    for group in GROUPS:
        part = config[group] or {}
        values[group] = str(part.get("_target_", "none")).rpartition(".")[2]
        values |= {f"{group}.{key}": _plain(value) for key, value in part.items() if not key.startswith("_")}
    values |= {key: config[key] for key in RUN_KEYS}
    values["data.batch_size"] = config["data"]["batch_size"]
    values["trainer.max_epochs"] = _plain(config["trainer"]["max_epochs"])
    return values


def _columns(config: Mapping[str, Any]) -> list[str]:
    """Return the columns of HPARAMS, those of every option: TensorBoard takes them from one of the runs for all."""
    known = [
        f"{group}.{entry.name}"
        for group in GROUPS
        for schema in SCHEMAS[group].values()
        for entry in fields(schema)
        if not entry.name.startswith("_")
    ]
    return list(dict.fromkeys([*hyperparameters(config), *known]))


def _describe(board: TensorBoardLogger, config: Mapping[str, Any], model: nn.Module, images: Tensor) -> None:
    writer = board.experiment
    indented = "\n".join(f"    {line}" for line in OmegaConf.to_yaml(OmegaConf.create(dict(config))).splitlines())
    writer.add_text("config", indented, 0)
    writer.add_custom_scalars(LAYOUT)
    writer.add_image("train/images", make_grid(images), 0)
    model.eval()  # so that drawing the graph moves neither random numbers nor a batch norm's statistics
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.trace", FutureWarning)  # torch's own way to a graph
        writer.add_graph(model, images[:1])
    model.train()
    columns = [summary_v2.HParam(name) for name in _columns(config)]
    row = summary_v2.hparams_pb(
        hyperparameters(config), trial_id=str(board.log_dir)
    )  # else equal runs would share a row
    _write([board], summary_v2.hparams_config_pb(columns, [summary_v2.Metric(tag) for tag in METRICS]), row)


def _session_end(status: int) -> Summary:
    """Return what TensorBoard's API has no function for: the end of a row's run, and how it ended."""
    end = SessionEndInfo(status=status, end_time_secs=time.time())
    about = metadata.create_summary_metadata(HParamsPluginData(session_end_info=end))
    value = Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=about, tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])


def _write(boards: Iterable[TensorBoardLogger], *summaries: Summary) -> None:
    for board in boards:
        for each in summaries:
            board.experiment._get_file_writer().add_summary(each)


def _plain(value: Any) -> str | float | bool:
    return value if isinstance(value, bool | int | float) else shown(value)
