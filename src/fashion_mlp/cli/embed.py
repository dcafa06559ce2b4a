"""`fashion-mlp embed`."""

import argparse
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from fashion_mlp.checkpoint.load import load_classifier
from fashion_mlp.cli.common import check_folder, echo, echo_json, resolve_device, test_data, writable
from fashion_mlp.inference.embed import last_hidden_layer
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.run_directory import remove_written

SUFFIX = ".fashion-mlp"


def run(arguments: argparse.Namespace) -> int:
    """Write the last hidden layer over test images, with thumbnails and names, for TensorBoard's projector."""
    check_folder(arguments.output)
    classifier = load_classifier(arguments.checkpoint, resolve_device(arguments.device))
    dataset = test_data(classifier, arguments.words).splits["test"]
    images, labels = dataset.__getitems__(range(min(arguments.images, len(dataset))))
    hidden = last_hidden_layer(classifier, images)
    truths = [classifier.class_names[label] for label in labels.tolist()]
    rows = [list(pair) for pair in zip(truths, classifier.predict(images).names, strict=True)]
    folder = arguments.output or _run_folder(arguments.checkpoint)
    place = folder / "embedding"
    _remove_earlier(place)
    with writable(place), SummaryWriter(str(place), filename_suffix=SUFFIX) as writer:
        writer.add_embedding(
            hidden, metadata=rows, metadata_header=["true", "predicted"], label_img=images / 255, tag="test"
        )
    if arguments.json:
        echo_json({"images": len(images), "dimensions": hidden.shape[1], "folder": str(place)})
    else:
        echo(f"{len(images):,} test images in {hidden.shape[1]} dimensions: tensorboard --logdir {folder}, PROJECTOR")
    return 0


def _remove_earlier(place: Path) -> None:
    """Remove what an earlier call wrote, which TensorBoard would show as well.

    Raises:
        UserError: the directory holds files of somebody else.
    """
    own = [*place.glob(f"events.out.tfevents.*{SUFFIX}")]
    if not own and place.is_dir() and any(place.iterdir()):
        raise UserError(f"{place}: holds other files. Choose another --output")
    # What `SummaryWriter.add_embedding` writes for the tag "test" at step 0.
    tensors = place / "00000" / "test"
    remove_written([*own, place / "projector_config.pbtxt", *tensors.glob("*.*"), tensors, tensors.parent])


def _run_folder(checkpoint: Path) -> Path:
    """Return the folder of the run that a checkpoint lies in, or else the checkpoint's own."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
