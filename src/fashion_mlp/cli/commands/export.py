"""Export a checkpoint's network, and compare the file with the checkpoint on random pixels."""

import argparse

from fashion_mlp.cli.arguments import add_shared, output_file, positive
from fashion_mlp.cli.output import echo

# Each format with the suffix of its files.
FORMATS = {"state_dict": ".pt", "onnx": ".onnx", "torch_export": ".pt2"}
RAW_INPUT_MAX = 255
# Images of random pixels on which a file is checked.
NUM_IMAGES = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fashion-mlp export`."""
    add_shared(parser, "checkpoint")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("--output", type=output_file, metavar="FILE", help="by default next to the checkpoint")
    parser.add_argument("--prefix", default="", help="state_dict: prefix of the names of the weights")
    input_help = "state_dict: value of a white pixel: 255 (default) for raw pixels, 1 after torchvision's ToTensor"
    parser.add_argument("--input-max", type=positive, default=RAW_INPUT_MAX, metavar="N", help=input_help)


def run(arguments: argparse.Namespace) -> int:
    """Run `fashion-mlp export`; return its exit status, which is 1 if a prediction differs."""
    import torch

    from fashion_mlp.inference import export
    from fashion_mlp.inference.load import load_classifier
    from fashion_mlp.runtime.atomic import atomic_write
    from fashion_mlp.runtime.errors import UserError

    suffix = FORMATS[arguments.format]
    if arguments.format != "state_dict" and (arguments.prefix or arguments.input_max != RAW_INPUT_MAX):
        raise UserError(f"--prefix, --input-max: only with --format state_dict. Remove them for {arguments.format}")
    path = arguments.output or arguments.checkpoint.with_suffix(suffix)
    if path.suffix != suffix:
        raise UserError(f"--output {path}: wrong suffix. Expected {suffix} for {arguments.format}")
    classifier = load_classifier(arguments.checkpoint, "cpu")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        if arguments.format == "onnx":
            export.export_onnx(classifier, file)
        elif arguments.format == "torch_export":
            export.export_program(classifier, file)
        else:
            export.export_state_dict(classifier, file, prefix=arguments.prefix, input_max=arguments.input_max)
    exported = export.load_exported(path, classifier, input_max=arguments.input_max)
    images = torch.randint(256, (NUM_IMAGES, *classifier.metadata["model"]["image_shape"]), dtype=torch.uint8)
    largest, differing = export.compare(classifier, exported, images)
    echo(f"{path}: logits differ by at most {largest:.1e}, and {differing} predictions differ on {NUM_IMAGES} images")
    echo(f"\n{export.usage(path, classifier, prefix=arguments.prefix, input_max=arguments.input_max)}")
    return 1 if differing else 0
