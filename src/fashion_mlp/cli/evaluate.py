"""`fashion-mlp evaluate`."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from fashion_mlp.cli.common import check_folder, echo, echo_json, load_checkpoints, progress, save, test_data
from fashion_mlp.data.dataset import ImageDataset
from fashion_mlp.inference import evaluate
from fashion_mlp.models import TTA
from fashion_mlp.reporting import figures

# What is told of each member of an ensemble.
COMPARED = ("checkpoint", "accuracy", "accuracy_standard_error", "loss", "macro_f1", "calibration_error")


def run(arguments: argparse.Namespace) -> int:
    """Measure a checkpoint, or an ensemble of several, on test images."""
    check_folder(arguments.plots)
    paths, members, overrides = load_checkpoints(arguments)
    class_names = members[0].class_names
    datamodule = test_data(members[0], overrides)
    outcomes = [evaluate.run(member, progress(datamodule.loader("test"), "evaluating")) for member in members]
    summaries = [
        {"checkpoint": str(path), **evaluate.summarize(outcome, class_names)}
        for path, outcome in zip(paths, outcomes, strict=True)
    ]
    outcome, summary = outcomes[0], summaries[0]
    if len(members) > 1:
        outcome = evaluate.averaged(outcomes)
        summary = evaluate.summarize(outcome, class_names)
        summary["members"] = [{name: alone[name] for name in COMPARED} for alone in summaries]
    views = max(member.model.num_views if isinstance(member.model, TTA) else 1 for member in members)
    summary |= {"data": datamodule.name, "views": views}
    if arguments.json:
        echo_json(summary)
    else:
        _print_summary(summary)
    if arguments.plots:
        _save_plots(outcome, class_names, datamodule.splits["test"], arguments)
    return 0


def _save_plots(
    outcome: evaluate.EvalOutput, class_names: tuple[str, ...], dataset: ImageDataset, arguments: argparse.Namespace
) -> None:
    folder, quiet = arguments.plots, arguments.json
    if len(class_names) <= figures.MAX_MATRIX_CLASSES:
        matrix = evaluate.confusion_matrix(outcome, len(class_names))
        save(figures.confusion_matrix(matrix, class_names), folder / "confusion_matrix.png", quiet=quiet)
    elif not quiet:
        echo(f"no confusion matrix: there are more than {figures.MAX_MATRIX_CLASSES:,} classes")
    save(figures.reliability(*evaluate.reliability(outcome)), folder / "reliability.png", quiet=quiet)
    worst = evaluate.most_confident_mistakes(outcome, 32)
    if len(worst):
        images, labels = dataset.__getitems__(worst.tolist())
        grid = figures.predictions(images, outcome.logits[worst].softmax(1), labels, class_names)
        save(grid, folder / "mistakes.png", quiet=quiet)


def _print_summary(summary: Mapping[str, Any]) -> None:
    views = f", up to {summary['views']} views of each" if summary["views"] > 1 else ""
    echo(f"{summary['images']:,} test images of {summary['data']}{views}")
    if "members" in summary:
        _print_members(summary["members"])
    echo(f"accuracy           {summary['accuracy']:.4f} (standard error {summary['accuracy_standard_error']:.4f})")
    echo(f"loss               {summary['loss']:.4f}")
    echo(f"macro F1           {summary['macro_f1']:.4f}")
    echo(f"calibration error  {summary['calibration_error']:.4f}")
    width = max(map(len, summary["classes"]))
    echo(f"\n{'':<{width}}  precision  recall      F1  images")
    for name, scores in summary["classes"].items():
        columns = "  ".join(f"{scores[score]:>6.4f}" for score in ("precision", "recall", "f1"))
        echo(f"{name:<{width}}     {columns}  {scores['images']:>6,}")
    echo("\nmost frequent confusions")
    for pair in summary["confusions"][:5]:
        echo(f"{pair['count']:>6,}  {pair['true']} taken for {pair['predicted']}")


def _print_members(members: Sequence[Mapping[str, Any]]) -> None:
    width = max(len(member["checkpoint"]) for member in members)
    echo(f"\n{'each alone':<{width}}  accuracy  standard error    loss  calibration error")
    for member in members:
        echo(
            f"{member['checkpoint']:<{width}}  {member['accuracy']:>8.4f}  {member['accuracy_standard_error']:>14.4f}"
            f"  {member['loss']:>6.4f}  {member['calibration_error']:>17.4f}"
        )
    echo(f"\nensemble of {len(members)}, the mean of their probabilities")
