"""Make photographs from images of Fashion-MNIST, and compare their predictions with those of the images.

    python tests/photographs.py runs/.../checkpoints/best.ckpt                 # 100 validation images of each kind
    python tests/photographs.py runs/.../checkpoints/best.ckpt --split test --count 500
    python tests/photographs.py runs/.../checkpoints/best.ckpt --save DIR      # also save the first photographs

A photograph shows the object of an image, enlarged tenfold and placed at a random position on a background of
420 x 420 pixels with sensor noise, as a JPEG.
"""

import argparse
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from fashion_mlp import load_classifier
from fashion_mlp.data.mnist import FashionMNISTDataModule
from fashion_mlp.inference.photo.classifier import PhotoClassifier
from fashion_mlp.runtime.errors import UserError

SIDE, OBJECT_SIDE = 420, 280
Color = tuple[int, int, int]

WHITE, BLACK, GRAY, LIGHT_GRAY = (250, 250, 250), (8, 8, 8), (120, 120, 120), (180, 180, 180)
OFF_WHITE, ORANGE, GREEN, BEIGE = (238, 232, 218), (235, 150, 45), (60, 140, 60), (214, 196, 170)
# An object's colours where the image is black and where it is white.
DARK = ((200, 200, 200), (15, 15, 15))
LIGHT = ((150, 150, 150), (250, 250, 250))
LIGHTEST = ((205, 205, 205), (255, 255, 255))
BLUE = ((40, 60, 130), (110, 160, 255))
RED = ((80, 10, 10), (225, 50, 50))


class Kind(NamedTuple):
    """How a photograph looks.

    Attributes:
        background: draws the background, `[SIDE, SIDE, 3]`.
        colors: the object's colours where the image is black and where it is white; None to show the image itself,
            or its negative on a light background.
        shadow: darkness of the object's shadow, from 0 to 1.
        angle: largest angle of rotation, in degrees.
        frame: colour of a frame around the photograph.
        cut: largest fraction of the object beyond an edge of the photograph.
        is_mirrored: whether the object is mirrored.
    """

    background: Callable[[np.random.Generator], Any]
    colors: tuple[Color, Color] | None = None
    shadow: float = 0.0
    angle: float = 0.0
    frame: Color | None = None
    cut: float = 0.0
    is_mirrored: bool = False


def plain(color: Color) -> Callable[[np.random.Generator], Any]:
    return lambda random: np.full((SIDE, SIDE, 3), color, np.float64)


def lit(color: Color, darkest: float = 0.65) -> Callable[[np.random.Generator], Any]:
    """Return a background that is lit from one side."""

    def draw(random: np.random.Generator) -> Any:
        angle = random.uniform(0, 2 * np.pi)
        rows, columns = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
        slope = (np.cos(angle) * rows + np.sin(angle) * columns) / 2**0.5
        return (darkest + (1 - darkest) * (slope + 1) / 2)[..., None] * np.array(color)

    return draw


def wood(random: np.random.Generator) -> Any:
    """Draw boards of brown wood with grain."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    waves = 6 * np.sin(rows / random.uniform(30, 60) + random.uniform(0, 6))
    grain = np.sin((columns + waves) / random.uniform(3, 6)) + 0.6 * np.sin(
        (columns + waves) / random.uniform(1.5, 2.5)
    )
    boards = np.where((columns + random.integers(0, 105)) % 105 < 2, -30, 0)
    return np.array([150.0, 100.0, 60.0]) + (9 * grain + boards)[..., None] * np.array([1.0, 0.8, 0.6])


def fabric(color: Color) -> Callable[[np.random.Generator], Any]:
    """Return a background with a weave and large stains of random brightness."""

    def draw(random: np.random.Generator) -> Any:
        rows, columns = np.mgrid[:SIDE, :SIDE]
        weave = 12 * np.sin(rows * 1.3) * np.sin(columns * 1.3)
        stains = Image.fromarray(random.normal(0, 12, (9, 9)).astype(np.float32))
        large = np.asarray(stains.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        return np.array(color) + (weave + large + random.normal(0, 6, (SIDE, SIDE)))[..., None]

    return draw


# The first nine are those of the founding table; the others are harder.
KINDS = {
    "dark on white": Kind(plain(WHITE)),
    "dark on grey": Kind(plain(LIGHT_GRAY)),
    "light on black": Kind(plain(BLACK)),
    "dark on a shadowed white": Kind(lit(WHITE)),
    "blue on orange": Kind(plain(ORANGE), BLUE),
    "red on green": Kind(plain(GREEN), RED),
    "light on grey": Kind(plain(GRAY), LIGHT),
    "light on patterned wood": Kind(wood, LIGHT),
    "white on off-white": Kind(plain(OFF_WHITE), LIGHTEST),
    "dark on white, pointing right": Kind(plain(WHITE), is_mirrored=True),
    "blue on orange, pointing right": Kind(plain(ORANGE), BLUE, is_mirrored=True),
    "with a shadow": Kind(lit(BEIGE), BLUE, shadow=0.35),
    "rotated by up to 10 degrees": Kind(plain(BEIGE), RED, angle=10),
    "in a frame": Kind(plain(BEIGE), DARK, frame=(40, 30, 30)),
    "partly cut off": Kind(plain(GREEN), LIGHT, cut=0.12),
    "on fabric": Kind(fabric(GRAY), LIGHT),
    "dark on fabric": Kind(fabric(BEIGE), ((110, 110, 110), (10, 10, 10))),
    "unevenly lit": Kind(lit(ORANGE, darkest=0.5), BLUE),
}


def take_photograph(image: Tensor, kind: Kind, seed: int) -> bytes:
    """Return a photograph as the content of a JPEG file.

    Args:
        image: uint8 `[1, 28, 28]`, light on black.
        kind: how the photograph looks.
        seed: seed of position, angle, noise and background.
    """
    random = np.random.default_rng(seed)
    enlarged = Image.fromarray(image[0].numpy()).resize((OBJECT_SIDE, OBJECT_SIDE), Image.Resampling.BICUBIC)
    if kind.is_mirrored:
        enlarged = enlarged.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    canvas = Image.new("L", (SIDE, SIDE))
    left, top = (int(place) for place in random.integers(30, SIDE - OBJECT_SIDE - 30, 2))
    if kind.cut:
        box = enlarged.point(lambda level: 255 * (level > 20)).getbbox() or (0, 0, OBJECT_SIDE, OBJECT_SIDE)
        hidden = int(random.uniform(0, kind.cut) * (box[3] - box[1]))
        top = SIDE + hidden - box[3] if random.random() < 0.5 else -hidden - box[1]
    canvas.paste(enlarged, (left, top))
    canvas = canvas.rotate(random.uniform(-kind.angle, kind.angle), Image.Resampling.BICUBIC)
    brightness = np.asarray(canvas) / 255.0
    photo = kind.background(random)
    if kind.shadow:
        cast = canvas.transform(canvas.size, Image.Transform.AFFINE, (1, 0, -14, 0, 1, -18)).point(
            lambda x: min(3 * x, 255)
        )
        blurred = np.asarray(cast.filter(ImageFilter.GaussianBlur(8))) / 255.0
        photo = photo * (1 - kind.shadow * blurred)[..., None]
    photo = _add_object(photo, brightness, kind.colors)
    photo += random.normal(0, 2, photo.shape)
    if kind.frame:
        inner = photo
        photo = np.full((SIDE + 40, SIDE + 40, 3), kind.frame, np.float64)
        photo[20:-20, 20:-20] = inner
    content = BytesIO()
    Image.fromarray(photo.clip(0, 255).round().astype(np.uint8)).save(content, "JPEG", quality=90)
    return content.getvalue()


def _add_object(photo: Any, brightness: Any, colors: tuple[Color, Color] | None) -> Any:
    if colors is None and photo.mean() < 64:
        return np.maximum(photo, 255 * brightness[..., None])
    if colors is None:
        return photo * (1 - brightness)[..., None]
    low, high = (np.array(color, np.float64) for color in colors)
    opacity = ((255 * brightness - 8) / 24).clip(0, 1)[..., None]
    return photo * (1 - opacity) + opacity * (low + (high - low) * brightness[..., None])


def draw_images(split: str, count: int) -> Tensor:
    """Return random images of Fashion-MNIST, uint8 `[count, 1, 28, 28]`, from a split, "val" or "test"."""
    data = FashionMNISTDataModule()
    data.setup("test" if split == "test" else "fit")
    dataset = data.splits[split]
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0)).tolist()
    return dataset.__getitems__(order[:count])[0]


def count_agreements(classifier: PhotoClassifier, images: Tensor, kind: Kind) -> tuple[int, int]:
    """Return how many photographs get the answer of their image, and how many are refused."""
    agreements = refusals = 0
    for seed, (image, name) in enumerate(zip(images, classifier.predict(images).names, strict=True)):
        try:
            prediction = classifier.predict_photo(take_photograph(image, kind, seed))
        except UserError:
            refusals += 1
        else:
            agreements += classifier.class_names[int(prediction.probabilities.argmax())] == name
    return agreements, refusals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--split", choices=["val", "test"], default="val")
    parser.add_argument("--count", type=int, default=100, help="images of each kind")
    parser.add_argument("--save", type=Path, metavar="DIR", help="directory for the first photograph of each kind")
    arguments = parser.parse_args()
    classifier = load_classifier(arguments.checkpoint)
    images = draw_images(arguments.split, arguments.count)
    print("| photograph | agreement | refused |\n| --- | --- | --- |")  # noqa: T201
    for name, kind in KINDS.items():
        if arguments.save:
            arguments.save.mkdir(parents=True, exist_ok=True)
            (arguments.save / f"{name}.jpg").write_bytes(take_photograph(images[0], kind, seed=0))
        agreements, refusals = count_agreements(classifier, images, kind)
        print(f"| {name} | {agreements / len(images):.2f} | {refusals} |", flush=True)  # noqa: T201
    large = Image.effect_noise((4000, 3000), 20).convert("RGB")
    large.paste((30, 40, 90), (1200, 800, 2800, 2400))
    content = BytesIO()
    large.save(content, "JPEG")
    start = perf_counter()
    classifier.predict_photo(content.getvalue())
    print(f"12 megapixels: {1000 * (perf_counter() - start):.0f} ms")  # noqa: T201


if __name__ == "__main__":
    main()
