"""`fashion-mlp data | evaluate | predict | embed | export | demo | bench`: what there is beside training."""

import argparse
import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from fashion_mlp.runtime.console import printable
from fashion_mlp.runtime.signals import exit_at_once

Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"

DATA_HELP = "the data, as in training: data=OPTION, data.KEY=VALUE; by default those that the checkpoint was trained on"
ENSEMBLE_HELP = "names that end in .ckpt: further checkpoints, whose probabilities are averaged"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    arguments = _parse(argv)
    # Imported here, so that --help and a mistyped option answer at once.
    with exit_at_once():
        from fashion_mlp.runtime.errors import exit_on_user_error
        from fashion_mlp.runtime.imports import importing_torch
        from fashion_mlp.runtime.oom import explain_oom
        from fashion_mlp.runtime.workers import explain_worker_deaths
    with exit_on_user_error(), explain_worker_deaths(), explain_oom(arguments.remedy):
        with importing_torch():
            command = import_module(f"fashion_mlp.cli.{arguments.command}")
        status: int = command.run(arguments)
        return status


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line; `words` are the arguments that may stand before and after options, in any number.

    By itself argparse leaves words that come after an option to nobody, if others came before it.
    """
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    takes_words = hasattr(arguments, "words")
    if unknown := [word for word in rest if word.startswith("-") or not takes_words]:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if takes_words:
        arguments.words = [*arguments.words, *rest]
    return arguments


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, without the usage, which can be longer than a screen is wide and high."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, printable(f"error: {message}; {self.prog} --help shows what there is\n"))


def _shared(*names: str, **options: Any) -> _Parser:
    """Return an argument that several commands have, as a parent of their parsers."""
    parent = _Parser(add_help=False)
    parent.add_argument(*names, **options)
    return parent


CHECKPOINT = _shared("checkpoint", type=Path, metavar="CKPT", help="a .ckpt file written by train.py")
DATA = _shared("words", nargs="*", default=(), metavar="data", help=DATA_HELP)
JSON = _shared("--json", action="store_true", help="print JSON")
DEVICE = _shared("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="(default: auto)")
TTA = _shared(
    "--tta",
    action="store_true",
    help="test-time augmentation: average the probabilities over the image as it is and changed as in training: "
    "mirrored (data.augment.hflip), shifted by one pixel in four directions (data.augment.translate)",
)


def _parser() -> _Parser:
    parser = _Parser(prog="fashion-mlp", description="Look at data, use trained checkpoints, measure speed.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add_command in (_add_data, _add_evaluate, _add_predict, _add_embed, _add_export, _add_demo, _add_bench):
        add_command(commands)
    return parser


def _add_data(commands: Commands) -> None:
    parser = commands.add_parser("data", parents=[JSON], help="verify the data, downloaded if need be, and describe it")
    parser.set_defaults(remedy="lower data.batch_size, or take fewer images")
    parser.add_argument("words", nargs="*", default=(), metavar="data", help="data=OPTION, data.KEY=VALUE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="save a grid of samples with their labels")


def _add_evaluate(commands: Commands) -> None:
    about = "measure a checkpoint, or an ensemble of several, on test images"
    parser = commands.add_parser("evaluate", parents=[CHECKPOINT, JSON, DEVICE, TTA], help=about)
    parser.set_defaults(remedy="lower data.eval_batch_size")
    parser.add_argument("words", nargs="*", default=(), metavar="CKPT | data", help=f"{ENSEMBLE_HELP}; {DATA_HELP}")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="save confusion matrix, reliability, worst mistakes")


def _add_predict(commands: Commands) -> None:
    about = "classify picture files, or test images"
    words = f"{ENSEMBLE_HELP}; pictures: files, folders or globs; with --test-samples {DATA_HELP}"
    parser = commands.add_parser("predict", parents=[CHECKPOINT, JSON, DEVICE, TTA], help=about)
    parser.set_defaults(remedy="lower --test-samples")
    parser.add_argument("words", nargs="*", default=(), metavar="CKPT | IMAGE | data", help=words)
    parser.add_argument("--show", type=Path, metavar="FILE", help="save what the model saw beside its answers")
    parser.add_argument("--test-samples", type=_positive, metavar="N", help="take the first N test images instead")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="with --test-samples: save them with their answers")


def _add_embed(commands: Commands) -> None:
    about = "show TensorBoard's projector the last hidden layer over test images"
    parser = commands.add_parser("embed", parents=[CHECKPOINT, DATA, JSON, DEVICE], help=about)
    parser.set_defaults(remedy="lower --images")
    parser.add_argument("--images", type=_positive, default=1000, metavar="N", help="how many test images (1000)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="by default the checkpoint's run folder")


def _add_export(commands: Commands) -> None:
    about = "write a checkpoint's network for use elsewhere, and compare the two on the test images"
    white = "state_dict: what a white pixel will be: 255 (default) for raw pixels, 1 after torchvision's ToTensor"
    parser = commands.add_parser("export", parents=[CHECKPOINT, DATA, JSON], help=about)
    parser.set_defaults(remedy="lower data.eval_batch_size")
    parser.add_argument("--format", required=True, choices=("state_dict", "onnx", "torch_export"))
    parser.add_argument("--output", type=Path, metavar="FILE", help="by default beside the checkpoint")
    parser.add_argument("--prefix", default="", help="state_dict: what the names of the weights begin with")
    parser.add_argument("--input-max", type=_positive, default=255, metavar="N", help=white)


def _add_demo(commands: Commands) -> None:
    parser = commands.add_parser("demo", parents=[DEVICE], help="serve a page to try checkpoints on; extra [demo]")
    parser.set_defaults(remedy="name fewer checkpoints")
    parser.add_argument("words", nargs="+", metavar="CKPT", help="a .ckpt file written by train.py; or data...")
    parser.add_argument("--host", default="127.0.0.1", help="address or name to listen on; by default this machine")
    parser.add_argument("--port", type=_port, metavar="N", help="by default the first that is free from 7860 on")


def _add_bench(commands: Commands) -> None:
    about = "time four ways to train the same network, side by side"
    parser = commands.add_parser("bench", parents=[DEVICE, JSON], help=about)
    parser.set_defaults(remedy="lower --batch-size or --hidden-sizes")
    parser.add_argument("--hidden-sizes", type=_positive, nargs="*", default=[256, 128], metavar="N", help="(256 128)")
    parser.add_argument("--optimizer", choices=("adam", "sgd"), default="adam", help="(default: adam)")
    parser.add_argument("--batch-size", type=_positive, default=64, metavar="N", help="(default: 64)")
    parser.add_argument("--rounds", type=_positive, default=3, metavar="N", help="(default: 3)")
    parser.add_argument("--threads", type=_positive, metavar="N", help="torch's CPU threads; by default its own choice")


def _positive(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,17}", text):  # longer integers may not fit in 64 bits
        raise argparse.ArgumentTypeError(f"{text!r} is no integer of at least 1")
    return int(text)


def _port(text: str) -> int:
    number = _positive(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"{text} is not at most 65535")
    return number
