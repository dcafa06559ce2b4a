"""Figures of images, predictions, confusion matrices and learning curves, in colours for colour-blind readers."""

import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from fashion_mlp.config.monitoring import METRICS
from fashion_mlp.data.image_io import shrink
from fashion_mlp.runtime.atomic import atomic_write
from fashion_mlp.runtime.console import printable

# Colours of titles, which also name the true class, since some readers do not see the colour.
RIGHT, WRONG = "black", "#c1272d"

DPI = 90
# Length of a name in a title or at an axis, in characters.
MAX_NAME = 16
# Largest number of classes of a confusion matrix; with more, a pixel would contain several cells.
MAX_MATRIX_CLASSES = 1000
# Sides of a confusion matrix and of its cells, in inches, small enough to read it in TensorBoard; largest number of
# classes with counts in it, and of ticks.
MATRIX_SIDES = 1.5, 9.0
CELL_SIDE = 0.38
MAX_COUNTED = 25
MAX_TICKS = 50
# Largest side of an image in a grid, where it is about 120 pixels wide, in pixels.
THUMBNAIL = 256
STAGES = {"train": "training", "val": "validation"}
# Blue and vermilion, which colour-blind readers can distinguish (Okabe and Ito, 2008).
COLORS = {"train": "#0072b2", "val": "#d55e00"}


def short(name: str) -> str:
    """Return the name of a class or file on one line, with at most `MAX_NAME` printable characters."""
    line = printable(" ".join(name.split()))
    return line if len(line) <= MAX_NAME else f"{line[: MAX_NAME - 1]}…"


def image_grid(images: Tensor, titles: Sequence[str], colors: Sequence[str] | None = None, columns: int = 8) -> Figure:
    """Draw a grid of images with titles.

    Args:
        images: uint8 `[N, C, H, W]` with 1 or 3 channels.
        titles: title of each image, of one or several lines.
        colors: colour of each title; None for black.
        columns: number of images in a row.
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    lines = max(title.count("\n") for title in titles) + 1
    side, between, above = 1.3, 0.15, 0.15 * lines + 0.15  # inches
    width, height = (side + between) * columns, (side + above) * rows + 0.1
    figure = Figure(figsize=(width, height))
    # One pair of axes for all images, with coordinates in inches: ten times faster than a pair for each.
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    for index, (image, title) in enumerate(zip(shrink(images, THUMBNAIL), titles, strict=True)):
        row, column = divmod(index, columns)
        left, top = column * (side + between) + between / 2, height - row * (side + above) - above
        corners = (left, left + side, top - side, top)
        axes.imshow(image.permute(1, 2, 0).numpy(), cmap="gray", vmin=0, vmax=255, extent=corners, aspect="auto")
        color = colors[index] if colors else RIGHT
        place = left + side / 2, top + 0.06
        axes.text(*place, title, fontsize=8, color=color, ha="center", va="bottom", parse_math=False)
    return figure


def predictions(images: Tensor, probabilities: Tensor, labels: Tensor, class_names: Sequence[str]) -> Figure:
    """Draw images with their predicted and true classes; the titles of mistakes are red.

    Args:
        images: uint8 `[N, C, H, W]`.
        probabilities: `[N, num_classes]`.
        labels: the true classes, int64 `[N]`.
        class_names: the names of the classes, in the order of the labels.
    """
    best, predicted = probabilities.max(1)
    titles, colors = [], []
    for probability, guess, truth in zip(best.tolist(), predicted.tolist(), labels.tolist(), strict=True):
        titles.append(f"{short(class_names[guess])} {probability:.0%}\ntrue: {short(class_names[truth])}")
        colors.append(RIGHT if guess == truth else WRONG)
    return image_grid(images, titles, colors)


def confusion_matrix(matrix: Tensor, class_names: Sequence[str]) -> Figure:
    """Draw a confusion matrix with true classes as rows; with at most `MAX_COUNTED` classes, its counts are shown.

    Args:
        matrix: counts, int64 `[num_classes, num_classes]`, of at most `MAX_MATRIX_CLASSES` classes.
        class_names: the names of the classes, in the order of the labels.
    """
    smallest, largest = MATRIX_SIDES
    size = min(max(CELL_SIDE * len(class_names), smallest), largest)
    figure = Figure(figsize=(size + 2.4, size + 1.7), layout="constrained")  # with space for the names and the scale
    axis = figure.subplots()
    axis.set(xlabel="predicted class", ylabel="true class")
    shares = matrix / matrix.sum(1, keepdim=True).clamp(min=1)
    image = axis.imshow(shares.numpy(), cmap="cividis", vmin=0, vmax=1)
    ticks = range(0, len(class_names), -(-len(class_names) // MAX_TICKS))
    names = [short(class_names[tick]) for tick in ticks]
    axis.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
    axis.set_yticks(ticks, names, parse_math=False)
    for row in range(len(class_names) if len(class_names) <= MAX_COUNTED else 0):
        for column in matrix[row].nonzero().flatten().tolist():
            color = "black" if shares[row, column] > 0.5 else "white"
            axis.text(column, row, str(int(matrix[row, column])), ha="center", va="center", color=color)
    figure.colorbar(image, label="fraction of the true class")
    return figure


def reliability(confidence: Tensor, accuracy: Tensor, counts: Tensor) -> Figure:
    """Draw a reliability diagram: accuracy against confidence, above the number of predictions in each bin.

    Args:
        confidence: mean of each bin of equal width from 0 to 1, `[bins]`; NaN for an empty bin.
        accuracy: mean of each bin, `[bins]`; NaN for an empty bin.
        counts: number of predictions in each bin, int64 `[bins]`.
    """
    figure = Figure(figsize=(4.6, 5.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot((0, 1), (0, 1), "--", color="gray", label="perfectly calibrated")
    upper.plot(confidence.numpy(), accuracy.numpy(), "o-", color=COLORS["train"], markersize=4, label="measured")
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    upper.grid(alpha=0.3)
    upper.legend(frameon=False)
    centers = (torch.arange(len(counts)) + 0.5) / len(counts)
    lower.bar(centers.numpy(), counts.numpy(), 0.9 / len(counts), color=COLORS["train"])
    lower.set(yscale="log", xlabel="confidence (probability of the predicted class)", ylabel="predictions")
    return figure


def curves(epochs: Sequence[int], history: Mapping[str, Sequence[float | None]]) -> Figure:
    """Draw the metrics of training and validation over the epochs.

    Args:
        epochs: numbers of the epochs, `[E]`.
        history: values of the metrics by name, such as "val/acc", `[E]` each; None for an epoch without a value.
    """
    names = list(dict.fromkeys(name.partition("/")[2] for name in history))
    figure = Figure(figsize=(4.5 * len(names), 3.4), layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for stage, style in (("train", "o--"), ("val", "o-")):
            values = zip(epochs, history.get(f"{stage}/{metric}", [None] * len(epochs)), strict=True)
            if points := [(epoch, value) for epoch, value in values if value is not None]:
                places, heights = zip(*points, strict=True)
                axes.plot(places, heights, style, label=STAGES[stage], color=COLORS[stage], markersize=3)
        axes.set(xlabel="epoch", ylabel=METRICS.get(metric, metric))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return figure


def loss_by_rate(losses: Mapping[float, float], smoothed: Sequence[float], suggestion: float | None) -> Figure:
    """Draw the training loss over the learning rate of each step of a range test.

    Args:
        losses: loss by learning rate.
        smoothed: the losses without their noise, in the same order.
        suggestion: the learning rate to mark; None for no mark.
    """
    figure = Figure(figsize=(5.4, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.plot([*losses], [*losses.values()], ".", color="gray", markersize=3, label="each step")
    axes.plot([*losses], smoothed, color=COLORS["train"], label="smoothed")
    if suggestion is not None:
        axes.axvline(suggestion, linestyle="--", color=COLORS["val"], label=f"suggestion: {suggestion:.2g}")
    top = 1.5 * max(smoothed[:1], default=1)  # a diverging loss would flatten the rest
    axes.set(xscale="log", xlabel="learning rate", ylim=(0, top), ylabel="training loss")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def png(figure: Figure) -> bytes:
    """Return a figure as the content of a PNG file."""
    content = BytesIO()
    _write(figure, content, format="png", pil_kwargs={"compress_level": 1})
    return content.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a figure to a file atomically, in the format of its suffix."""
    with atomic_write(path) as file:
        _write(figure, file, format=path.suffix[1:])


def _write(figure: Figure, file: IO[bytes], **options: Any) -> None:
    """Render a figure; characters that the font lacks become boxes, without a warning for each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure.savefig(file, dpi=DPI, **options)
