"""Draw run.png of the README from the directory of a run: python .github/images/draw.py RUN_DIR.

The image has a background, so that it reads well in a light and in a dark theme.
"""

import sys
from pathlib import Path

import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fashion_mlp import FashionMNISTDataModule, load_classifier
from fashion_mlp.reporting.figures import COLORS, RIGHT, STAGES, WRONG

# Twice the 800 pixels at which it is shown, at 100 pixels per inch.
SIZE = (16, 8.2)
COLUMNS, ROWS, MISTAKES = 6, 2, 4


def draw_curves(axes: Axes, events: EventAccumulator, metric: str, label: str) -> None:
    """Draw a metric of training and validation over the epochs."""
    for stage in STAGES:
        values = [event.value for event in events.Scalars(f"{stage}/{metric}")]
        axes.plot(range(1, len(values) + 1), values, "o-", color=COLORS[stage], label=STAGES[stage], linewidth=3)
    axes.set(xlabel="epoch", title=label)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def draw_matrix(axes: Axes, matrix: torch.Tensor, names: tuple[str, ...]) -> None:
    """Draw a confusion matrix; each cell is the percentage of its true class."""
    shares = matrix / matrix.sum(1, keepdim=True)
    axes.imshow(shares.numpy(), cmap="cividis", vmin=0, vmax=1)
    axes.set(title="confusion matrix, % of the true class", ylabel="true", xlabel="predicted")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    for row, column in matrix.nonzero().tolist():
        if share := round(100 * float(shares[row, column])):
            color = "black" if share > 50 else "white"
            axes.text(column, row, str(share), ha="center", va="center", color=color, fontsize=13)


def main() -> None:
    """Draw the image and save it beside this file."""
    run_dir = Path(sys.argv[1])
    events = EventAccumulator(str(run_dir)).Reload()
    data = FashionMNISTDataModule()
    data.setup("test")
    images, labels = data.splits["test"].images, data.splits["test"].labels
    names, probabilities = load_classifier(run_dir / "checkpoints/best.ckpt").predict(images)
    predicted = probabilities.argmax(1)
    classes = data.class_names
    matrix = torch.zeros(len(classes), len(classes), dtype=torch.int64)
    matrix.index_put_((labels, predicted), torch.tensor(1), accumulate=True)

    plt.rcParams.update({"font.size": 15, "axes.titlesize": 17})
    figure = plt.figure(figsize=SIZE, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    left, right = figure.subfigures(1, 2, width_ratios=(8.6, 7.4))
    upper, lower = left.subfigures(2, 1, height_ratios=(4, 5))
    for axes, (metric, label) in zip(upper.subplots(1, 2), (("loss", "loss"), ("acc", "accuracy")), strict=True):
        draw_curves(axes, events, metric, label)
    wrong = (predicted != labels).nonzero().flatten()[:MISTAKES].tolist()
    right_ones = (predicted == labels).nonzero().flatten()[: COLUMNS * ROWS - MISTAKES].tolist()
    for axes, index in zip(lower.subplots(ROWS, COLUMNS).flat, sorted(right_ones + wrong), strict=True):
        axes.imshow(images[index, 0].numpy(), cmap="gray")
        axes.axis("off")
        is_wrong = predicted[index] != labels[index]
        title = f"{names[index]}\n{probabilities[index].max():.0%}"
        axes.set_title(f"{title}, not\n{classes[labels[index]]}" if is_wrong else f"{title}\n", fontsize=13)
        axes.title.set_color(WRONG if is_wrong else RIGHT)
    lower.suptitle("predictions for test images; mistakes in red", fontsize=17)
    draw_matrix(right.subplots(), matrix, classes)
    figure.savefig(Path(__file__).with_name("run.png"), dpi=100, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
