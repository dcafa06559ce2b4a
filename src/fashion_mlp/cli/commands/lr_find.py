"""Suggest a learning rate for a configuration by a range test."""

import argparse

from fashion_mlp.cli.arguments import WORDS, figure_file
from fashion_mlp.cli.output import echo, save_figure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fashion-mlp lr-find`."""
    parser.add_argument("words", **WORDS, metavar="override", help="KEY=VALUE as for train.py")
    plot_help = "save the loss by learning rate (default: %(default)s)"
    parser.add_argument("--plot", type=figure_file, default="lr_find.png", metavar="FILE", help=plot_help)


def run(arguments: argparse.Namespace) -> None:
    """Run `fashion-mlp lr-find`."""
    from fashion_mlp.api import compose
    from fashion_mlp.runtime.errors import UserError
    from fashion_mlp.runtime.failures import importing_torch

    cfg = compose(*arguments.words)
    with importing_torch():
        from fashion_mlp.cli import lr_range_test
        from fashion_mlp.reporting import figures

    losses = lr_range_test.measure_losses(cfg)
    suggestion = lr_range_test.suggest_rate(losses)
    smoothed = lr_range_test.smooth(list(losses.values())).tolist()
    save_figure(figures.loss_by_rate(losses, smoothed, suggestion), arguments.plot)
    if suggestion is None:
        raise UserError("lr-find: the loss falls at no learning rate. Check the data, the model and the optimizer")
    echo(f"{'' if 'lr' in cfg.optimizer else '+'}optimizer.lr={suggestion:.2g}")
