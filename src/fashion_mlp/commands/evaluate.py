"""`fashion-mlp evaluate`."""

import argparse
from typing import Any

from fashion_mlp import evaluation, figures
from fashion_mlp.checkpoint import load_classifier
from fashion_mlp.commands.options import check_folder, chosen_device, progress, save, say, say_json, test_data
from fashion_mlp.data import ImageDataModule


def run(arguments: argparse.Namespace) -> int:
    """Measure a checkpoint on test images."""
    check_folder(arguments.plots)
    classifier = load_classifier(arguments.checkpoint, chosen_device(arguments.device))
    datamodule = test_data(classifier, arguments.overrides)
    outcome = evaluation.run(classifier, progress(datamodule.loader("test"), "evaluating"))
    summary = evaluation.summarize(outcome, classifier.class_names)
    if arguments.json:
        say_json({"checkpoint": str(arguments.checkpoint), "data": datamodule.name, **summary})
    else:
        _print_summary(summary, datamodule)
    if arguments.plots:
        matrix = evaluation.confusion_matrix(outcome, len(classifier.class_names))
        save(
            figures.confusion_matrix(matrix, classifier.class_names),
            arguments.plots / "confusion_matrix.png",
            quiet=arguments.json,
        )
        worst = evaluation.most_confident_mistakes(outcome, 32)
        if len(worst):
            images, labels = datamodule.parts["test"].__getitems__(worst.tolist())
            probabilities = outcome.logits[worst].softmax(1)
            grid = figures.predictions(images, probabilities, labels, classifier.class_names)
            save(grid, arguments.plots / "mistakes.png", quiet=arguments.json)
    return 0


def _print_summary(summary: dict[str, Any], datamodule: ImageDataModule) -> None:
    say(f"{summary['images']:,} test images of {datamodule.name}")
    say(f"accuracy           {summary['accuracy']:.4f} (standard error {summary['accuracy_standard_error']:.4f})")
    say(f"loss               {summary['loss']:.4f}")
    say(f"macro F1           {summary['macro_f1']:.4f}")
    say(f"calibration error  {summary['calibration_error']:.4f}")
    width = max(map(len, summary["classes"]))
    say(f"\n{'':<{width}}  precision  recall      F1  images")
    for name, scores in summary["classes"].items():
        columns = "  ".join(f"{scores[score]:>6.4f}" for score in ("precision", "recall", "f1"))
        say(f"{name:<{width}}     {columns}  {scores['images']:>6,}")
    say("\nmost frequent confusions")
    for pair in summary["confusions"][:5]:
        say(f"{pair['count']:>6,}  {pair['true']} taken for {pair['predicted']}")
