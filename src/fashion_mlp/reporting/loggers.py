"""Pictures for the loggers that take them."""

import io
from collections.abc import Iterable

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary


def log_picture(loggers: Iterable[Logger], tag: str, picture: bytes, step: int) -> None:
    """Give a picture to TensorBoard, Weights & Biases and MLflow, as far as they are among the loggers.

    Args:
        loggers: those of the run.
        tag: its name.
        picture: a PNG file's content.
        step: the optimizer step that it shows.
    """
    image = Image.open(io.BytesIO(picture))
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            encoded = Summary.Image(height=image.height, width=image.width, colorspace=3, encoded_image_string=picture)
            # As it is: `add_image` would decode and encode it again.
            writer = logger.experiment._get_file_writer()
            writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=encoded)]), step)
        elif isinstance(logger, WandbLogger):
            logger.log_image(tag, [image], step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_image(logger.run_id, image, artifact_file=f"{tag}/{step}.png")
