"""Log images to the loggers that support them."""

import io
from collections.abc import Iterable
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary


def log_image(loggers: Iterable[Logger], tag: str, png: bytes, step: int) -> None:
    """Log an image to TensorBoard, Weights & Biases and MLflow; other loggers are skipped.

    Args:
        loggers: of the run.
        tag: name of the image.
        png: content of a PNG file.
        step: optimizer step.
    """
    image = Image.open(io.BytesIO(png))
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            encoded = Summary.Image(height=image.height, width=image.width, colorspace=3, encoded_image_string=png)
            get_file_writer(logger).add_summary(Summary(value=[Summary.Value(tag=tag, image=encoded)]), step)
        elif isinstance(logger, WandbLogger):
            logger.log_image(tag, [image], step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_image(logger.run_id, image, artifact_file=f"{tag}/{step}.png")


def get_file_writer(logger: TensorBoardLogger) -> Any:
    """Return the writer that takes `Summary` messages.

    It is private: `SummaryWriter.add_image` would decode and encode an image again, and has no counterpart for HPARAMS.
    """
    return logger.experiment._get_file_writer()
