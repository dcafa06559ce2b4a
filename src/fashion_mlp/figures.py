"""Pictures of images, predictions and confusions, in colours that colour-blind readers tell apart."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

RIGHT, WRONG = "black", "#c1272d"
"""Of a title; its words tell a mistake too, since colour alone would not."""


def image_grid(images: Tensor, titles: Sequence[str], colors: Sequence[str] | None = None, columns: int = 8) -> Figure:
    """Draw images in rows, each under its title.

    Args:
        images: uint8 `[N, C, H, W]`, of one channel or three.
        titles: one for each image; may have several lines.
        colors: of the titles; black by default.
        columns: images a row.
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    lines = max(title.count("\n") for title in titles) + 1
    side, between, above = 1.3, 0.15, 0.15 * lines + 0.15  # inches
    width, height = (side + between) * columns, (side + above) * rows + 0.1
    figure = Figure(figsize=(width, height))
    # One pair of axes for all, in inches from the lower left: as many as there are images would take ten times as long.
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    for index, (image, title) in enumerate(zip(images, titles, strict=True)):
        row, column = divmod(index, columns)
        left, top = column * (side + between) + between / 2, height - row * (side + above) - above
        corners = (left, left + side, top - side, top)
        axes.imshow(image.permute(1, 2, 0).numpy(), cmap="gray", vmin=0, vmax=255, extent=corners, aspect="auto")
        color = colors[index] if colors else RIGHT
        axes.text(left + side / 2, top + 0.06, title, fontsize=8, color=color, ha="center", va="bottom")
    return figure


def predictions(images: Tensor, probabilities: Tensor, labels: Tensor, class_names: Sequence[str]) -> Figure:
    """Draw images with their predicted classes; the true ones below; mistakes in red.

    Args:
        images: uint8 `[N, C, H, W]`.
        probabilities: `[N, num_classes]`.
        labels: the true classes, int64 `[N]`.
        class_names: in the order of the labels.
    """
    best, predicted = probabilities.max(1)
    titles, colors = [], []
    for probability, guess, truth in zip(best.tolist(), predicted.tolist(), labels.tolist(), strict=True):
        titles.append(f"{class_names[guess]} {probability:.0%}\ntrue: {class_names[truth]}")
        colors.append(RIGHT if guess == truth else WRONG)
    return image_grid(images, titles, colors)


def confusion_matrix(matrix: Tensor, class_names: Sequence[str]) -> Figure:
    """Draw a confusion matrix, int64 `[num_classes, num_classes]`, true classes by row, with its counts."""
    size = 2.2 + 0.6 * len(class_names)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axis = figure.subplots()
    shares = matrix / matrix.sum(1, keepdim=True).clamp(min=1)
    shown = axis.imshow(shares.numpy(), cmap="cividis", vmin=0, vmax=1)
    ticks = range(len(class_names))
    axis.set_xticks(ticks, class_names, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(ticks, class_names)
    axis.set_xlabel("predicted class")
    axis.set_ylabel("true class")
    for row in ticks:
        for column in ticks:
            # Black on the light half of the colour map, white on the dark half.
            color = "black" if shares[row, column] > 0.5 else "white"
            axis.text(column, row, str(int(matrix[row, column])), ha="center", va="center", color=color, fontsize=9)
    figure.colorbar(shown, label="share of the true class", fraction=0.046)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, or as the ending of its name says."""
    figure.savefig(path, dpi=120)
