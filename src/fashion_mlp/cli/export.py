"""`fashion-mlp export`."""

import argparse

from fashion_mlp.checkpoint.load import load_classifier
from fashion_mlp.cli.common import check_file, echo, echo_json, load_test_data, progress, writable
from fashion_mlp.inference import export
from fashion_mlp.runtime.errors import UserError

# What a white pixel is by default.
RAW = 255


def run(arguments: argparse.Namespace) -> int:
    """Write a checkpoint's network, and check the file against the classifier on the test images."""
    if arguments.format != "state_dict" and (arguments.prefix or arguments.input_max != RAW):
        raise UserError(f"--prefix, --input-max: go with --format state_dict, not with {arguments.format}")
    path = arguments.output or arguments.checkpoint.with_suffix(export.FORMATS[arguments.format])
    if path.suffix != export.FORMATS[arguments.format]:
        raise UserError(f"--output {path}: must end in {export.FORMATS[arguments.format]}")
    check_file(path, [path.suffix])
    classifier = load_classifier(arguments.checkpoint, "cpu")
    datamodule = load_test_data(classifier, arguments.words)
    with writable(path):
        if arguments.format == "onnx":
            export.export_onnx(classifier, path)
        elif arguments.format == "torch_export":
            export.export_program(classifier, path)
        else:
            export.export_state_dict(classifier, path, prefix=arguments.prefix, input_max=arguments.input_max)
    exported = export.load_exported(path, classifier, input_max=arguments.input_max)
    agreement = export.compare(classifier, exported, progress(datamodule.loader("test"), "comparing"))
    if arguments.json:
        echo_json({"file": str(path), "format": arguments.format, **agreement._asdict()})
    else:
        echo(
            f"{path}: on {agreement.images:,} test images the logits differ by at most "
            f"{agreement.largest_difference:.1e}, and {agreement.differing_classes} classes"
        )
    return 1 if agreement.differing_classes else 0
