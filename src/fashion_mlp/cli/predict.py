"""`fashion-mlp predict`."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import torch

from fashion_mlp.classifier import Classifier
from fashion_mlp.cli.common import check_file, echo, echo_json, load_checkpoints, progress, save, test_data
from fashion_mlp.inference.ensemble import make_ensemble
from fashion_mlp.inference.predict import find_pictures, prepare
from fashion_mlp.reporting import figures
from fashion_mlp.runtime.console import printable
from fashion_mlp.runtime.errors import UserError


def run(arguments: argparse.Namespace) -> int:
    """Classify picture files, or the first test images."""
    check_file(arguments.show)
    check_file(arguments.plot)
    _, members, words = load_checkpoints(arguments)
    classifier = make_ensemble(members)
    if arguments.test_samples:
        if arguments.show:
            raise UserError("--show: is for pictures of your own; with --test-samples use --plot FILE")
        return _predict_test_samples(classifier, words, arguments)
    if not words:
        raise UserError("IMAGE: is required: pictures to classify; or take test images with --test-samples N")
    if arguments.plot:
        raise UserError("--plot: goes with --test-samples; for pictures of your own use --show FILE")
    return _predict_pictures(classifier, words, arguments)


def _predict_pictures(classifier: Classifier, patterns: Sequence[str], arguments: argparse.Namespace) -> int:
    paths = find_pictures(patterns)
    if arguments.show and arguments.show.resolve() in [path.resolve() for path in paths]:
        raise UserError(f"--show {arguments.show}: is one of the pictures to classify. Choose another file")
    answers: list[dict[str, Any]] = []
    seen: list[torch.Tensor] = []
    titles: list[str] = []
    for path in progress(paths, "classifying"):
        try:
            image = prepare(path, classifier)
        except UserError as error:
            answers.append({"image": str(path), "error": str(error)})
            continue
        answer = _answer(classifier, classifier.predict(image.unsqueeze(0)).probabilities[0])
        answers.append({"image": str(path), **answer})
        seen.append(image)
        titles.append(f"{figures.short(path.name)}\n{figures.short(answer['class'])} {answer['probability']:.0%}")
    _print_answers(answers, as_json=arguments.json)
    if arguments.show and seen:
        save(figures.image_grid(torch.stack(seen), titles), arguments.show, quiet=arguments.json)
    return 1 if len(seen) < len(paths) else 0


def _predict_test_samples(classifier: Classifier, overrides: Sequence[str], arguments: argparse.Namespace) -> int:
    datamodule = test_data(classifier, overrides)
    count = min(arguments.test_samples, len(datamodule.splits["test"]))
    images, labels = datamodule.splits["test"].__getitems__(range(count))
    probabilities = classifier.predict(images).probabilities
    answers = [
        {"image": f"test image {number}", **_answer(classifier, row), "true": classifier.class_names[int(label)]}
        for number, (row, label) in enumerate(zip(probabilities, labels, strict=True))
    ]
    _print_answers(answers, as_json=arguments.json)
    if arguments.plot:
        grid = figures.predictions(images, probabilities, labels, classifier.class_names)
        save(grid, arguments.plot, quiet=arguments.json)
    return 0


def _answer(classifier: Classifier, probabilities: torch.Tensor) -> dict[str, Any]:
    """Return the likeliest class and the three likeliest, from the probabilities of all, `[num_classes]`."""
    best = probabilities.topk(min(3, len(classifier.class_names)))
    top = [
        {"class": classifier.class_names[index], "probability": probability}
        for probability, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]
    return {**top[0], "top": top}


def _print_answers(answers: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        echo_json(answers)
        return
    width = max(len(answer["image"]) for answer in answers)
    for answer in answers:
        if "error" in answer:
            print(printable(f"error: {answer['image']} {answer['error']}"), file=sys.stderr)  # noqa: T201
            continue
        top = ", ".join(f"{entry['class']} {entry['probability']:.1%}" for entry in answer["top"])
        is_wrong = answer.get("true", answer["class"]) != answer["class"]
        echo(f"{answer['image']:<{width}}  {top}" + (f"   (is {answer['true']})" if is_wrong else ""))
