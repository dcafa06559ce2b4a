"""`fashion-mlp data`."""

import argparse

from fashion_mlp import figures
from fashion_mlp.commands.options import check_file, parse_overrides, save, say, say_json
from fashion_mlp.data import build_datamodule


def run(arguments: argparse.Namespace) -> int:
    """Verify and describe the data."""
    check_file(arguments.plot)
    option, values = parse_overrides(arguments.overrides)
    datamodule = build_datamodule(option or "fashion_mnist", values)
    datamodule.prepare_data()
    datamodule.setup("fit")
    datamodule.setup("test")
    images, labels = next(iter(datamodule.loader("train", batch_size=datamodule.batch_size)))
    pixels = datamodule.parts["train"].images.double() / 255
    facts = {
        "data": datamodule.name,
        "images": {part: len(dataset) for part, dataset in datamodule.parts.items()},
        "classes": list(datamodule.class_names),
        "batch_images": {"shape": list(images.shape), "dtype": str(images.dtype)},
        "batch_labels": {"shape": list(labels.shape), "dtype": str(labels.dtype)},
        "mean": round(float(pixels.mean()), 5),
        "std": round(float(pixels.std()), 5),
    }
    if arguments.json:
        say_json(facts)
    else:
        say(f"data     {datamodule.name}, verified")
        say("images   " + ", ".join(f"{len(dataset):,} {part}" for part, dataset in datamodule.parts.items()))
        say(f"classes  {', '.join(datamodule.class_names)}")
        say(f"a batch  images {list(images.shape)} {images.dtype}, labels {list(labels.shape)} {labels.dtype}")
        say(f"pixels   mean {facts['mean']:.5f}, standard deviation {facts['std']:.5f}, on the scale from 0 to 1")
    if arguments.plot:
        count = min(40, len(images))
        titles = [datamodule.class_names[int(label)] for label in labels[:count]]
        save(figures.image_grid(images[:count], titles), arguments.plot, quiet=arguments.json)
    return 0
