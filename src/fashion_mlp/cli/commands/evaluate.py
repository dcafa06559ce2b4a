"""Measure a checkpoint, or an ensemble of several, on test images."""

import argparse
from typing import Any

from fashion_mlp.cli.arguments import DATA_HELP, ENSEMBLE_HELP, WORDS, add_shared, output_directory, split_words
from fashion_mlp.cli.output import echo, progress, save_figure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fashion-mlp evaluate`."""
    add_shared(parser, "checkpoint", "--json", "--device", "--tta")
    parser.add_argument("words", **WORDS, metavar="CKPT | data", help=f"{ENSEMBLE_HELP}; {DATA_HELP}")
    plots_help = "save confusion matrix, reliability diagram, worst mistakes"
    parser.add_argument("--plots", type=output_directory, metavar="DIR", help=plots_help)


def run(arguments: argparse.Namespace) -> None:
    """Run `fashion-mlp evaluate`."""
    from fashion_mlp.config.records import to_json
    from fashion_mlp.inference import evaluate
    from fashion_mlp.inference.load import load_ensemble
    from fashion_mlp.inference.test_data import load_test_data

    paths, overrides = split_words(arguments)
    classifier = load_ensemble(paths, arguments.device, tta=arguments.tta)
    datamodule = load_test_data(classifier, overrides)
    class_names = datamodule.class_names
    output = evaluate.collect_outputs(classifier, progress(datamodule.loader("test"), "evaluating"))
    metrics = {"data": datamodule.name, **evaluate.compute_metrics(output, class_names)}
    if arguments.json:
        echo(to_json(metrics))
    else:
        _print_metrics(metrics)
    if arguments.plots:
        from fashion_mlp.reporting import figures

        plots = {"reliability": figures.reliability(*evaluate.reliability(output))}
        if len(class_names) <= figures.MAX_MATRIX_CLASSES:
            matrix = evaluate.confusion_matrix(output, len(class_names))
            plots["confusion_matrix"] = figures.confusion_matrix(matrix, class_names)
        worst = evaluate.most_confident_mistakes(output, 32)
        if len(worst):
            images, labels = datamodule.splits["test"].__getitems__(worst.tolist())
            plots["mistakes"] = figures.predictions(images, output.logits[worst].softmax(1), labels, class_names)
        for name, figure in plots.items():
            save_figure(figure, arguments.plots / f"{name}.png")


def _print_metrics(metrics: dict[str, Any]) -> None:
    echo(f"{metrics['images']:,} test images of {metrics['data']}")
    echo(f"accuracy           {metrics['accuracy']:.4f} (standard error {metrics['accuracy_standard_error']:.4f})")
    for name in ("loss", "macro_f1", "calibration_error"):
        echo(f"{name.replace('_', ' '):<19}{metrics[name]:.4f}")
    width = max(map(len, metrics["classes"]))
    echo(f"\n{'':<{width}}  precision  recall      F1  images")
    for name, scores in metrics["classes"].items():
        columns = "  ".join(f"{scores[score]:>6.4f}" for score in ("precision", "recall", "f1"))
        echo(f"{name:<{width}}     {columns}  {scores['images']:>6,}")
    echo("\nmost frequent confusions")
    for pair in metrics["confusions"][:5]:
        echo(f"{pair['count']:>6,}  {pair['true']} classified as {pair['predicted']}")
