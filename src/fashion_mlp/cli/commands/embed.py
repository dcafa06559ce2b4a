"""Write the last hidden layer over test images for TensorBoard's projector."""

import argparse
from itertools import count

from fashion_mlp.cli.arguments import DATA_HELP, WORDS, add_shared, output_directory, positive
from fashion_mlp.cli.output import echo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fashion-mlp embed`."""
    add_shared(parser, "checkpoint", "--device")
    parser.add_argument("words", **WORDS, metavar="data", help=DATA_HELP)
    parser.add_argument("--images", type=positive, default=1000, metavar="N", help="number of test images (1000)")
    parser.add_argument("--output", type=output_directory, metavar="DIR", help="by default the run directory")


def run(arguments: argparse.Namespace) -> None:
    """Run `fashion-mlp embed`."""
    from torch.utils.tensorboard import SummaryWriter

    from fashion_mlp.inference.evaluate import last_hidden_layer
    from fashion_mlp.inference.load import load_ensemble
    from fashion_mlp.inference.test_data import load_test_data
    from fashion_mlp.runtime.run_directory import CHECKPOINTS

    classifier = load_ensemble([arguments.checkpoint], arguments.device)
    images, labels = load_test_data(classifier, arguments.words).splits["test"].first(arguments.images)
    hidden = last_hidden_layer(classifier, images)
    names = [classifier.class_names[label] for label in labels.tolist()]
    rows = [list(pair) for pair in zip(names, classifier.predict(images).names, strict=True)]
    parent = arguments.checkpoint.parent
    run_dir = arguments.output or (parent.parent if parent.name == CHECKPOINTS else parent)
    numbered = (run_dir / f"embedding-{number}" for number in count(1))
    directory = next(path for path in numbered if not path.exists())  # earlier ones are kept
    with SummaryWriter(str(directory)) as writer:
        header = ["true", "predicted"]
        writer.add_embedding(hidden, metadata=rows, metadata_header=header, label_img=images / 255, tag="test")
    echo(f"{len(images):,} test images in {hidden.shape[1]} dimensions: tensorboard --logdir {run_dir}, PROJECTOR")
