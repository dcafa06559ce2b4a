"""`fashion-mlp data`."""

import argparse

from fashion_mlp.cli.data_overrides import compose_data


def run(arguments: argparse.Namespace) -> int:
    """Verify and describe the data."""
    cfg = compose_data(arguments.words)  # a mistake is reported before torch is loaded
    from fashion_mlp.cli.common import check_file, echo, echo_json, save
    from fashion_mlp.reporting import figures, summary
    from fashion_mlp.training import build

    check_file(arguments.plot)
    datamodule = build("data", cfg)
    datamodule.prepare_data()
    datamodule.setup("fit")
    datamodule.setup("test")
    images, labels = next(iter(datamodule.loader("train", batch_size=datamodule.batch_size)))
    pixels = datamodule.splits["train"].images.double() / 255
    facts = {
        "data": datamodule.name,
        "images": {part: len(dataset) for part, dataset in datamodule.splits.items()},
        "classes": datamodule.class_counts(),
        "batch_images": {"shape": list(images.shape), "dtype": str(images.dtype)},
        "batch_labels": {"shape": list(labels.shape), "dtype": str(labels.dtype)},
        "mean": round(float(pixels.mean()), 5),
        "std": round(float(pixels.std()), 5),
    }
    if arguments.json:
        echo_json(facts)
    else:
        echo(f"data     {datamodule.name}, verified")
        echo("images   " + ", ".join(f"{len(dataset):,} {part}" for part, dataset in datamodule.splits.items()))
        echo(f"classes  {summary.listed(datamodule.class_counts())}")
        echo(f"a batch  images {list(images.shape)} {images.dtype}, labels {list(labels.shape)} {labels.dtype}")
        echo(f"pixels   mean {facts['mean']:.5f}, standard deviation {facts['std']:.5f}, on the scale from 0 to 1")
    if arguments.plot:
        count = min(40, len(images))
        titles = [figures.short(datamodule.class_names[int(label)]) for label in labels[:count]]
        save(figures.image_grid(images[:count], titles), arguments.plot, quiet=arguments.json)
    return 0
