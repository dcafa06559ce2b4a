"""Write the last hidden layer over test images for TensorBoard's projector."""

import argparse
from itertools import count
from typing import TYPE_CHECKING

from fashion_mlp.cli.arguments import DATA_HELP, WORDS, add_shared, output_directory, positive
from fashion_mlp.cli.output import echo, writing

if TYPE_CHECKING:
    from torch import Tensor

    from fashion_mlp.classifier import Classifier


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fashion-mlp embed`."""
    add_shared(parser, "checkpoint", "--device")
    parser.add_argument("words", **WORDS, metavar="data", help=DATA_HELP)
    parser.add_argument("--images", type=positive, default=1000, metavar="N", help="number of test images (1000)")
    parser.add_argument("--output", type=output_directory, metavar="DIR", help="by default the run directory")


def run(arguments: argparse.Namespace) -> int:
    """Run `fashion-mlp embed`; return its exit status."""
    from torch.utils.tensorboard import SummaryWriter

    from fashion_mlp.inference.evaluation_data import load_test_data
    from fashion_mlp.inference.load import load_ensemble

    classifier = load_ensemble([arguments.checkpoint], arguments.device)
    dataset = load_test_data(classifier, arguments.words).splits["test"]
    images, labels = dataset.__getitems__(range(min(arguments.images, len(dataset))))
    hidden = last_hidden_layer(classifier, images)
    names = [classifier.class_names[label] for label in labels.tolist()]
    rows = [list(pair) for pair in zip(names, classifier.predict(images).names, strict=True)]
    parent = arguments.checkpoint.parent
    run_dir = arguments.output or (parent.parent if parent.name == "checkpoints" else parent)
    numbered = (run_dir / f"embedding-{number}" for number in count(1))
    directory = next(path for path in numbered if not path.exists())  # earlier ones are kept
    with writing(directory), SummaryWriter(str(directory)) as writer:
        writer.add_embedding(
            hidden, metadata=rows, metadata_header=["true", "predicted"], label_img=images / 255, tag="test"
        )
    echo(f"{len(images):,} test images in {hidden.shape[1]} dimensions: tensorboard --logdir {run_dir}, PROJECTOR")
    return 0


def last_hidden_layer(classifier: "Classifier", images: "Tensor") -> "Tensor":
    """Return the input of the last linear layer, `[N, width]`, on the CPU; without hidden layers these are the pixels.

    Args:
        classifier: in evaluation mode.
        images: raw pixels, uint8 `[N, C, H, W]`.
    """
    from torch.nn import Linear

    inputs: list[Tensor] = []
    last = [module for module in classifier.model.modules() if isinstance(module, Linear)][-1]
    hook = last.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    classifier.predict(images)
    hook.remove()
    return inputs[0].float().cpu()
