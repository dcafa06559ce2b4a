"""Classify image files, or test images."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fashion_mlp.cli.arguments import DATA_HELP, ENSEMBLE_HELP, WORDS, add_shared, figure_file, positive, split_words
from fashion_mlp.cli.output import echo, progress, save_figure

if TYPE_CHECKING:
    from fashion_mlp.classifier import Classifier

# Notes on a prediction, by the entries of JSON.
NOTES = {"novel": "low confidence: unlike the training images", "mirrored": "mirrored"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fashion-mlp predict`."""
    add_shared(parser, "checkpoint", "--json", "--device", "--tta")
    words_help = f"{ENSEMBLE_HELP}; images: files, directories or globs; with --test-samples {DATA_HELP}"
    parser.add_argument("words", **WORDS, metavar="CKPT | IMAGE | data", help=words_help)
    show_help = "save each image, the object found in it, and what the model sees"
    parser.add_argument("--show", type=figure_file, metavar="FILE", help=show_help)
    parser.add_argument("--test-samples", type=positive, metavar="N", help="classify the first N test images instead")
    parser.add_argument("--plot", type=figure_file, metavar="FILE", help="save the test images with their classes")


def run(arguments: argparse.Namespace) -> int:
    """Run `fashion-mlp predict`; return its exit status, which is 1 if an image got no answer."""
    from fashion_mlp.inference.load import load_ensemble
    from fashion_mlp.runtime.errors import UserError

    paths, words = split_words(arguments)
    classifier = load_ensemble(paths, arguments.device, tta=arguments.tta)
    if arguments.test_samples and arguments.show:
        raise UserError("--show: only for image files. Type --plot FILE with --test-samples")
    if not arguments.test_samples and not words:
        raise UserError("IMAGE: required. Type image files, directories or globs, or --test-samples N")
    if not arguments.test_samples and arguments.plot:
        raise UserError("--plot: only with --test-samples. Type --show FILE for image files")
    predict = _predict_test_samples if arguments.test_samples else _predict_files
    return predict(classifier, words, arguments)


def _predict_files(classifier: "Classifier", patterns: Sequence[str], arguments: argparse.Namespace) -> int:
    import torch

    from fashion_mlp.inference.image_files import find_images, fit_square
    from fashion_mlp.reporting import figures
    from fashion_mlp.runtime.errors import UserError

    paths = find_images(patterns)
    if arguments.show and arguments.show.resolve() in [path.resolve() for path in paths]:
        raise UserError(f"--show {arguments.show}: one of the images to classify. Choose another file")
    rows: list[dict[str, Any]] = []
    images, titles = [], []
    for path in progress(paths, "classifying"):
        try:
            prediction = classifier.classify(path)
        except UserError as error:
            rows.append({"image": str(path), "error": str(error)})
            continue
        row = _prediction(path, classifier, prediction.probabilities.tolist())
        rows.append({**row, "mirrored": prediction.is_mirrored, "novel": prediction.is_novel})
        images += [fit_square(image) for image in (prediction.photo, prediction.found, prediction.image)]
        seen = "seen mirrored" if prediction.is_mirrored else "seen"
        titles += [figures.short(path.name), "found", f"{seen}\n{figures.short(row['class'])} {row['probability']:.0%}"]
    _print_predictions(rows, as_json=arguments.json)
    if arguments.show and images:
        figure = figures.image_grid(torch.stack(images), titles, columns=6)
        save_figure(figure, arguments.show)
    return 1 if any("error" in row for row in rows) else 0


def _predict_test_samples(classifier: "Classifier", overrides: Sequence[str], arguments: argparse.Namespace) -> int:
    from fashion_mlp.inference.load import load_test_data
    from fashion_mlp.reporting import figures

    dataset = load_test_data(classifier, overrides).splits["test"]
    images, labels = dataset.__getitems__(range(min(arguments.test_samples, len(dataset))))
    probabilities = classifier.predict(images).probabilities
    rows = [
        {**_prediction(f"test image {index}", classifier, row), "true": classifier.class_names[label]}
        for index, (row, label) in enumerate(zip(probabilities.tolist(), labels.tolist(), strict=True))
    ]
    _print_predictions(rows, as_json=arguments.json)
    if arguments.plot:
        save_figure(figures.predictions(images, probabilities, labels, classifier.class_names), arguments.plot)
    return 0


def _prediction(image: object, classifier: "Classifier", probabilities: list[float]) -> dict[str, Any]:
    """Return the most probable class of an image, and the three most probable."""
    ranked = sorted(zip(probabilities, classifier.class_names, strict=True), reverse=True)
    top = [{"class": name, "probability": probability} for probability, name in ranked[:3]]
    return {"image": str(image), **top[0], "top": top}


def _print_predictions(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    from fashion_mlp.config.records import to_json

    if as_json:
        echo(to_json(rows))
        return
    width = max(len(row["image"]) for row in rows)
    for row in rows:
        if "error" in row:
            echo(f"error: {row['image']} {row['error']}", sys.stderr)
            continue
        top = ", ".join(f"{entry['class']} {entry['probability']:.1%}" for entry in row["top"])
        notes = [name for key, name in NOTES.items() if row.get(key)]
        if row.get("true", row["class"]) != row["class"]:
            notes.append(f"true: {row['true']}")
        echo(f"{row['image']:<{width}}  {top}" + (f"   ({', '.join(notes)})" if notes else ""))
