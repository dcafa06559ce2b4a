"""Verify the data, downloaded if need be, and describe it."""

import argparse

from fashion_mlp.cli.arguments import DATA, WORDS, figure_file
from fashion_mlp.cli.output import echo, save_figure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fashion-mlp data`."""
    parser.add_argument("words", **WORDS, metavar="data", help="data=OPTION, data.KEY=VALUE as for train.py")
    parser.add_argument("--plot", type=figure_file, metavar="FILE", help="save a grid of samples with their labels")


def run(arguments: argparse.Namespace) -> None:
    """Run `fashion-mlp data`."""
    from fashion_mlp import compose
    from fashion_mlp.runtime.errors import UserError
    from fashion_mlp.runtime.failures import importing_torch

    if others := [text for text in arguments.words if not text.startswith(DATA)]:
        raise UserError(f"{others[0]}: not supported here. Expected data=OPTION or data.KEY=VALUE")
    cfg = compose(*arguments.words)
    with importing_torch():
        from fashion_mlp.build.parts import build_datamodule
        from fashion_mlp.reporting import figures, summary

    datamodule = build_datamodule(cfg)
    datamodule.prepare_data()
    datamodule.setup("fit")
    datamodule.setup("test")
    images, labels = next(iter(datamodule.loader("train", batch_size=datamodule.batch_size)))
    pixels = datamodule.splits["train"].images.double() / 255
    echo(f"data     {datamodule.name}, verified")
    echo("images   " + ", ".join(f"{len(dataset):,} {split}" for split, dataset in datamodule.splits.items()))
    echo(f"classes  {summary.format_counts(datamodule.class_counts())}")
    echo(f"a batch  images {list(images.shape)} {images.dtype}, labels {list(labels.shape)} {labels.dtype}")
    echo(f"pixels   mean {pixels.mean():.5f}, standard deviation {pixels.std():.5f}, on the scale from 0 to 1")
    if arguments.plot:
        titles = [figures.short(datamodule.class_names[label]) for label in labels[:40].tolist()]
        save_figure(figures.image_grid(images[:40], titles), arguments.plot)
