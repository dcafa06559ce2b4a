"""Classify image files, or test images."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fashion_mlp.cli.arguments import DATA_HELP, ENSEMBLE_HELP, WORDS, add_shared, figure_file, positive, split_words
from fashion_mlp.cli.output import echo, progress, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fashion_mlp.inference.photo.classifier import PhotoClassifier

Row = dict[str, Any]
Answer = tuple[list[Row], "Figure | None"]

# Notes on a prediction, by the entries of JSON.
NOTES = {"novel": "unreliable: unlike the training images", "mirrored": "mirrored"}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `fashion-mlp predict`."""
    add_shared(parser, "checkpoint", "--json", "--device", "--tta")
    words_help = f"{ENSEMBLE_HELP}; images: files, directories or globs; with --test-samples {DATA_HELP}"
    parser.add_argument("words", **WORDS, metavar="CKPT | IMAGE | data", help=words_help)
    show_help = "save each image, the object found in it, and what the model sees"
    parser.add_argument("--show", type=figure_file, metavar="FILE", help=show_help)
    parser.add_argument("--test-samples", type=positive, metavar="N", help="classify the first N test images instead")
    parser.add_argument("--plot", type=figure_file, metavar="FILE", help="save the test images with their classes")


def run(arguments: Namespace) -> int:
    """Run `fashion-mlp predict`; return its exit status, which is 1 if an image got no answer."""
    from fashion_mlp.config.records import to_json
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
    rows, figure = predict(classifier, words, arguments)
    if arguments.json:
        echo(to_json(rows))
    else:
        _print_predictions(rows)
    if figure is not None:
        save_figure(figure, arguments.plot or arguments.show)
    return 1 if any("error" in row for row in rows) else 0


def _predict_files(classifier: "PhotoClassifier", patterns: Sequence[str], arguments: Namespace) -> Answer:
    """Return a row for each image file, and the figure for `--show`."""
    import torch

    from fashion_mlp.data.image_io import find_images
    from fashion_mlp.reporting import figures
    from fashion_mlp.runtime.errors import UserError

    paths = find_images(patterns)
    if arguments.show and arguments.show.resolve() in [path.resolve() for path in paths]:
        raise UserError(f"--show {arguments.show}: one of the images to classify. Choose another file")
    rows: list[Row] = []
    images, titles = [], []
    for path in progress(paths, "classifying"):
        try:
            prediction = classifier.predict_photo(path)
        except UserError as error:
            rows.append({"image": str(path), "error": str(error)})
            continue
        row = _rank_classes(path, classifier.class_names, prediction.probabilities.tolist())
        rows.append({**row, "mirrored": prediction.is_mirrored, "novel": prediction.is_novel})
        images += prediction.steps()
        seen = "seen mirrored" if prediction.is_mirrored else "seen"
        titles += [figures.short(path.name), "found", f"{seen}\n{figures.short(row['class'])} {row['probability']:.0%}"]
    is_shown = arguments.show and images
    return rows, figures.image_grid(torch.stack(images), titles, columns=6) if is_shown else None


def _predict_test_samples(classifier: "PhotoClassifier", overrides: Sequence[str], arguments: Namespace) -> Answer:
    """Return a row for each test image, and the figure for `--plot`."""
    from fashion_mlp.inference.test_data import load_test_data
    from fashion_mlp.reporting import figures

    images, labels = load_test_data(classifier, overrides).splits["test"].first(arguments.test_samples)
    probabilities, names = classifier.predict(images).probabilities, classifier.class_names
    rows = [
        {**_rank_classes(f"test image {index}", names, row), "true": names[label]}
        for index, (row, label) in enumerate(zip(probabilities.tolist(), labels.tolist(), strict=True))
    ]
    return rows, figures.predictions(images, probabilities, labels, names) if arguments.plot else None


def _rank_classes(image: object, class_names: Sequence[str], probabilities: list[float]) -> Row:
    """Return the most probable class of an image, and the three most probable."""
    ranked = sorted(zip(probabilities, class_names, strict=True), reverse=True)
    top = [{"class": name, "probability": probability} for probability, name in ranked[:3]]
    return {"image": str(image), **top[0], "top": top}


def _print_predictions(rows: Sequence[Row]) -> None:
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
