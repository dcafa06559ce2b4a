"""What TensorBoard shows of a run besides its curves: the configuration, the network, a row in HPARAMS.

The row is written in TensorBoard's own protocol: Lightning's `log_hyperparams` would put a point that was never
measured into each chart.
"""

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from omegaconf import OmegaConf
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, summary_v2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid

from fashion_mlp.config.messages import format_value
from fashion_mlp.config.schema import SCHEMAS, MLPConfig, OptimizerConfig, SchedulerConfig
from fashion_mlp.reporting.figures import thumbnails
from fashion_mlp.runtime.os_errors import warn_on_failure

# Charts of the tab CUSTOM SCALARS, each over several tags.
LAYOUT = {
    "training and validation": {
        "loss": ["Multiline", ["train/loss", "val/loss"]],
        "accuracy": ["Multiline", ["train/acc", "val/acc"]],
    }
}
GROUPS = {"model": MLPConfig, "optimizer": OptimizerConfig, "scheduler": SchedulerConfig}
KEYS = ("seed", "label_smoothing", "data.batch_size", "trainer.max_epochs")
METRICS = ("val/acc", "val/loss", "test/acc", "test/loss")
# Training images shown.
SAMPLES = 32
# Pixels a side of each at most.
THUMBNAIL = 64


@contextmanager
def recorded(loggers: Iterable[Logger], config: Mapping[str, Any], model: nn.Module, images: Tensor) -> Iterator[None]:
    """Give each logger the hyperparameters, TensorBoard what it shows of a run, and at the end how the run ended.

    Args:
        loggers: those of the run, on the first process.
        config: the run's configuration as plain values.
        model: the network.
        images: the first training images, as the network gets them, uint8 `[N, C, H, W]`.
    """
    for logger in loggers:
        logger.log_hyperparams(hyperparameters(config))
        if isinstance(logger, TensorBoardLogger):
            _describe(logger, config, model, images)
    with ended(loggers):
        yield


@contextmanager
def ended(loggers: Iterable[Logger]) -> Iterator[None]:
    """Tell each logger at the end whether the run came to it."""
    status = api_pb2.STATUS_FAILURE
    try:
        yield
        status = api_pb2.STATUS_SUCCESS
    finally:
        end = SessionEndInfo(status=status, end_time_secs=time.time())
        for logger in loggers:
            if isinstance(logger, TensorBoardLogger):
                _write(logger, _hparams(metadata.SESSION_END_INFO_TAG, session_end_info=end))
                logger.experiment.close()
            elif isinstance(logger, WandbLogger):  # else the next job of a sweep would write into this run
                logger.experiment.finish(exit_code=int(status != api_pb2.STATUS_SUCCESS))


def hyperparameters(config: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """Return what a run could be swept over, flat: what each group chose, and its keys, lists as text."""
    values: dict[str, str | float | bool] = {}
    for group in GROUPS:
        part = config[group] or {}
        values[group] = str(part.get("_target_", "none")).rpartition(".")[2]
        values |= {f"{group}.{key}": _plain(value) for key, value in part.items() if not key.startswith("_")}
    selected = OmegaConf.create(dict(config))
    values |= {key: _plain(OmegaConf.select(selected, key)) for key in KEYS}
    augment = config["data"].get("augment", {})
    return values | {f"data.augment.{key}": value for key, value in augment.items() if not key.startswith("_")}


def _describe(board: TensorBoardLogger, config: Mapping[str, Any], model: nn.Module, images: Tensor) -> None:
    writer = board.experiment
    indented = "\n".join(f"    {line}" for line in OmegaConf.to_yaml(OmegaConf.create(dict(config))).splitlines())
    writer.add_text("config", indented, 0)
    writer.add_custom_scalars(LAYOUT)
    with warn_on_failure("TensorBoard's train/images"):
        writer.add_image("train/images", make_grid(thumbnails(images, THUMBNAIL)), 0)
    with warn_on_failure("TensorBoard's graph of the model"):
        _add_graph(writer, model, images[:1])
    row = summary_v2.hparams_pb(hyperparameters(config), trial_id=board.log_dir)  # by default equal runs share a row
    columns = api_pb2.Experiment(
        hparam_infos=_columns(config),
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in METRICS],
    )
    _write(board, _hparams(metadata.EXPERIMENT_TAG, experiment=columns), row)


def _add_graph(writer: SummaryWriter, model: nn.Module, images: Tensor) -> None:
    """Trace a model, in evaluation mode: that changes neither random numbers nor a batch norm's statistics."""
    model.eval()
    try:
        # torch prints why it cannot trace a model, warns of what a trace leaves out, and of its own use of the trace.
        with torch.no_grad(), redirect_stdout(None), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            writer.add_graph(model, images)
    finally:
        model.train()


def _columns(config: Mapping[str, Any]) -> list[api_pb2.HParamInfo]:
    """Return the columns of HPARAMS: those of every option, since TensorBoard takes them from one run for all.

    Those that were set on the command line are marked, and so come first.
    """
    known = [
        f"{group}.{name}"
        for group, parent in GROUPS.items()
        for schema in SCHEMAS.values()
        if issubclass(schema, parent)
        for name, field in schema.model_fields.items()
        if field.alias is None
    ]
    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    typed = {override.partition("=")[0] for override in overrides}
    names = dict.fromkeys([*hyperparameters(config), *known])
    return [api_pb2.HParamInfo(name=name, differs=name in typed) for name in names]


def _hparams(tag: str, **content: Any) -> Summary:
    """Return a message to HPARAMS for which TensorBoard has no function that works without TensorFlow."""
    about = metadata.create_summary_metadata(HParamsPluginData(**content))
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)])


def _write(board: TensorBoardLogger, *summaries: Summary) -> None:
    for summary in summaries:
        board.experiment._get_file_writer().add_summary(summary)


def _plain(value: Any) -> str | float | bool:
    return value if isinstance(value, bool | int | float) else format_value(value)
