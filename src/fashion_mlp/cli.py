"""`fashion-mlp data | evaluate | predict | embed | export | demo | bench`: what there is beside training."""

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from typing_extensions import override

from fashion_mlp.interruption import exit_at_once
from fashion_mlp.terminal import printable

REMEDIES = {
    "bench": "lower --batch-size or --hidden-sizes",
    "data": "lower data.batch_size, or take fewer images",
    "demo": "name fewer checkpoints",
    "embed": "lower --images",
    "evaluate": "lower data.eval_batch_size",
    "export": "lower data.eval_batch_size",
    "predict": "lower --test-samples",
}
"""What to do about a lack of memory, by command."""
WORDS = {
    "data": "overrides",
    "demo": "checkpoints",
    "embed": "overrides",
    "evaluate": "more",
    "export": "overrides",
    "predict": "more",
}
"""The argument that takes any number of words, by command."""
MANY_DIGITS = 18
"""A longer integer counts nothing, and may not fit in 64 bits."""
DATA_HELP = "the data, as in training: data=OPTION, data.KEY=VALUE; by default those that the checkpoint was trained on"

ENSEMBLE_HELP = "names that end in .ckpt: further checkpoints, whose probabilities are averaged"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    arguments = _parsed(argv)
    # Imported here, so that --help and a mistyped option answer at once.
    with exit_at_once():
        from fashion_mlp.errors import told_in_one_line
        from fashion_mlp.loading import loading_torch
        from fashion_mlp.memory import shortage_told
        from fashion_mlp.workers import worker_deaths_explained
    with told_in_one_line(), worker_deaths_explained(), shortage_told(REMEDIES[arguments.command]):
        with loading_torch():
            command = import_module(f"fashion_mlp.commands.{arguments.command}")
        status: int = command.run(arguments)
        return status


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line, whose words may stand before and after its options.

    By itself argparse leaves words that come after an option to nobody, if others came before it.
    """
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    takes_words = arguments.command in WORDS
    if unknown := [word for word in rest if word.startswith("-") or not takes_words]:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if rest:
        getattr(arguments, WORDS[arguments.command]).extend(rest)
    return arguments


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, without the usage, which can be longer than a screen is wide and high."""

    @override
    def error(self, message: str) -> NoReturn:
        self.exit(2, printable(f"error: {message}; {self.prog} --help shows what there is\n"))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fashion-mlp", description="Look at data, use trained checkpoints, measure speed.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="verify the data, downloading them if need be, and describe them")
    data.add_argument(
        "overrides", nargs="*", default=[], metavar="data...", help="data=OPTION, data.KEY=VALUE, as in training"
    )
    data.add_argument("--plot", type=Path, metavar="FILE", help="save a grid of samples with their labels")
    data.add_argument("--json", action="store_true", help="print JSON")

    evaluate = commands.add_parser("evaluate", help="measure a checkpoint, or an ensemble of several, on test images")
    _add_checkpoint(evaluate)
    evaluate.add_argument("more", nargs="*", default=[], metavar="CKPT | data", help=f"{ENSEMBLE_HELP}; {DATA_HELP}")
    _add_device(evaluate)
    _add_tta(evaluate)
    evaluate.add_argument(
        "--plots", type=Path, metavar="DIR", help="save confusion matrix, reliability and worst mistakes"
    )

    predict = commands.add_parser("predict", help="classify picture files, or test images")
    _add_checkpoint(predict)
    predict.add_argument(
        "more",
        nargs="*",
        default=[],
        metavar="CKPT | IMAGE | data",
        help=f"{ENSEMBLE_HELP}; pictures: files, folders or globs; with --test-samples {DATA_HELP}",
    )
    _add_device(predict)
    _add_tta(predict)
    predict.add_argument("--show", type=Path, metavar="FILE", help="save what the model saw beside its answers")
    predict.add_argument("--test-samples", type=_positive, metavar="N", help="take the first N test images instead")
    predict.add_argument("--plot", type=Path, metavar="FILE", help="with --test-samples: save them with their answers")

    embed = commands.add_parser("embed", help="show TensorBoard's projector the last hidden layer over test images")
    _add_checkpoint(embed)
    _add_device(embed)
    embed.add_argument("overrides", nargs="*", default=[], metavar="data...", help=DATA_HELP)
    embed.add_argument("--images", type=_positive, default=1000, metavar="N", help="how many test images (1000)")
    embed.add_argument("--output", type=Path, metavar="DIR", help="by default the checkpoint's run folder")

    export = commands.add_parser("export", help="write a checkpoint's network for use elsewhere: pixels in, logits out")
    _add_checkpoint(export)
    export.add_argument(
        "overrides", nargs="*", default=[], metavar="data...", help=DATA_HELP + "; the test images check the file"
    )
    export.add_argument("--format", required=True, choices=("state_dict", "onnx", "torch_export"))
    export.add_argument("--output", type=Path, metavar="FILE", help="by default beside the checkpoint")
    export.add_argument("--prefix", default="", help="state_dict: what the names of the weights begin with")
    export.add_argument(
        "--largest-pixel",
        type=_positive,
        default=255,
        metavar="N",
        help="state_dict: what a white pixel will be: 255 (default) for raw pixels, 1 after torchvision's ToTensor",
    )

    demo = commands.add_parser("demo", help="serve a page to try checkpoints on; extra [demo]")
    demo.add_argument("checkpoints", nargs="+", metavar="CKPT", help="a .ckpt file written by train.py; or data...")
    demo.add_argument("--host", default="127.0.0.1", help="address or name to listen on; by default this machine only")
    demo.add_argument("--port", type=_port, metavar="N", help="by default the first that is free from 7860 on")
    _add_device(demo)

    bench = commands.add_parser("bench", help="time four ways to train the same network, side by side")
    bench.add_argument("--hidden-sizes", type=_positive, nargs="*", default=[256, 128], metavar="N", help="(256 128)")
    bench.add_argument("--optimizer", choices=("adam", "sgd"), default="adam", help="(default: adam)")
    bench.add_argument("--batch-size", type=_positive, default=64, metavar="N", help="(default: 64)")
    bench.add_argument("--rounds", type=_positive, default=3, metavar="N", help="(default: 3)")
    bench.add_argument("--threads", type=_positive, metavar="N", help="torch's CPU threads; by default its own choice")
    _add_device(bench)
    bench.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="a .ckpt file written by train.py")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="(default: auto)")


def _add_tta(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: average the probabilities over the image as it is and changed as in training: "
        "mirrored (data.augment.flip), shifted by one pixel in four directions (data.augment.shift)",
    )


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= MANY_DIGITS and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no integer of at least 1")
    return int(text)


def _port(text: str) -> int:
    number = _positive(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"{text} is not at most 65535")
    return number
