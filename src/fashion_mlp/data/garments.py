"""Synthetic pictures of garments: an offline stand-in for Fashion-MNIST.

Each picture is drawn from random measures, in the image size, the ten classes and the class order of
Fashion-MNIST. It is not Fashion-MNIST and holds nothing of it: it lets a pipeline run without a
download, and a score on it says nothing about a score on the real set.

Each image has its own frame: x to the right, y down, both about [-1, 1] from edge to edge. A shape is
its depth in these units: how far a point lies inside the outline, negative outside.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

SIZE = 28

Bytes: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.floating]  # float32 [images, pixels], or [images, 1]: one number per image
Range: TypeAlias = tuple[float, float]


def draw_garments(count: int, seed: int) -> tuple[Bytes, Bytes]:
    """Draw labelled garments, light on black, the same for the same count, seed and NumPy release.

    Args:
        count: number of images, at least 1.
        seed: of all that is random: the order of the labels and the look of each garment.

    Returns:
        Images, uint8 `[count, 28, 28]`, and labels, uint8 `[count]`, whose class sizes differ by at most one.

    Raises:
        ValueError: `count` is less than 1, or `seed` less than 0.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % len(_DRAW)).astype(np.uint8)
    images = np.empty((count, SIZE, SIZE), np.uint8)
    for label, draw in enumerate(_DRAW):
        members = labels == label
        images[members] = _develop(draw(_Canvas(int(members.sum()), rng)), rng)
    return images, labels


def _develop(light: Floats, rng: np.random.Generator) -> Bytes:
    """Turn light, `[images, pixels]` with 1 for white, into grainy grey levels, `[images, 28, 28]`."""
    grain = 1 + 0.06 * rng.standard_normal(light.shape, np.float32)  # a factor: the background stays black
    return (255 * _unit(light * grain)).astype(np.uint8).reshape(-1, SIZE, SIZE)


class _Canvas:
    """Images of one class, each with its own randomly placed frame and its own random measures."""

    def __init__(self, count: int, rng: np.random.Generator) -> None:
        self.count = count
        self.rng = rng
        centres = (np.arange(SIZE, dtype=np.float32) + 0.5) * (2 / SIZE) - 1
        x = np.tile(centres, SIZE) + self.measure(-0.22, 0.22)
        y = np.repeat(centres, SIZE) + self.measure(-0.18, 0.18)
        turn, shear = self.measure(-0.12, 0.12), self.measure(-0.06, 0.06)
        facing = self.some(0.5)  # 1 or -1: shoes point either way
        self.x = (x + (turn + shear) * y) * facing / self.measure(0.8, 0.98)
        self.y = (y - turn * x) / self.measure(0.8, 0.98)

    def measure(self, low: float, high: float) -> Floats:
        """One number per image, uniform between the two."""
        return self.rng.uniform(low, high, (self.count, 1)).astype(np.float32)

    def some(self, probability: float) -> Floats:
        """Shape that fills an image, depth 1, with this probability, and is absent, depth -1, otherwise."""
        return 2 * (self.rng.random((self.count, 1)) < probability).astype(np.float32) - 1


def _unit(values: Floats) -> Floats:
    """Limit to [0, 1]."""
    limited: Floats = np.clip(values, 0, 1)
    return limited


def _paint(image: Floats, shape: Floats, tone: Floats) -> Floats:
    """Lay a shape of this tone over the image, its edge one pixel wide."""
    cover = _unit(shape * (SIZE / 2) + 0.5)
    return image + cover * (tone - image)


def _meet(first: Floats, *others: Floats) -> Floats:
    """Shape that all the shapes share."""
    for other in others:
        first = np.minimum(first, other)
    return first


def _curve(position: Floats, *points: tuple[Floats | float, Floats | float]) -> Floats:
    """Smooth curve through (position, value) points, constant beyond the outer two."""
    curve = np.zeros_like(position) + points[0][1]
    for (start, value), (end, next_value) in pairwise(points):
        step = _unit((position - start) / (end - start))
        curve += (next_value - value) * step * step * (3 - 2 * step)
    return curve


def _stripes(canvas: _Canvas, position: Floats, probability: float) -> Floats:
    """Light left by dark stripes across a direction: 1 between them, and all over images that have none."""
    wave = np.sin(position * canvas.measure(8, 22) + canvas.measure(0, 6.3))
    strength = _unit(canvas.some(probability)) * canvas.measure(0.2, 0.7)
    return 1 - strength * _unit(0.5 + wave)


def _cloth(canvas: _Canvas, pattern: float = 0.1) -> Floats:
    """Light of a cloth: unevenly lit, and plain, striped or checked."""
    fall = 1 + canvas.measure(-0.2, 0.2) * canvas.x + canvas.measure(-0.2, 0.2) * canvas.y
    weave = _stripes(canvas, canvas.x, pattern) * _stripes(canvas, canvas.y, pattern)
    return canvas.measure(0.45, 1.1) * fall * weave


def _padded(shape: Floats) -> Floats:
    """Light of a soft shape: dimmer towards its outline."""
    return _unit(0.3 + 5 * shape)


class _Top(NamedTuple):
    """A kind of garment for the upper body: the range of each measure, the probability of each detail."""

    length: Range
    shoulder: Range  # half the width, like waist and hem
    waist: Range
    hem: Range
    sleeve: Range  # below zero: sleeveless
    splay: Range = (0.1, 0.35)  # angle of the sleeve from the vertical, radians
    neck: Range = (0.05, 0.4)  # depth
    opening: float = 0.05
    ribbing: float = 0.1
    motif: float = 0.1
    pattern: float = 0.2

    def draw(self, canvas: _Canvas) -> Floats:
        length, shoulder, sleeve = (canvas.measure(*size) for size in (self.length, self.shoulder, self.sleeve))
        side = np.abs(canvas.x)
        down = canvas.y + length / 2  # from the top of the shoulders
        below_neck = down - self._neckline(canvas, side)
        width = _curve(
            down,
            (0, shoulder),
            (length * canvas.measure(0.4, 0.6), canvas.measure(*self.waist)),
            (length, canvas.measure(*self.hem)),
        )
        body = _meet(width - side, below_neck, length - down)
        along, across = self._along_and_across_sleeve(canvas, side - shoulder, down)
        arm = _meet(canvas.measure(0.13, 0.2) - 0.04 * along - across, along + 0.2, sleeve - along, below_neck)

        cloth = _cloth(canvas, self.pattern)
        image = _paint(np.zeros_like(side), arm, cloth * canvas.measure(0.7, 1))
        image = _paint(image, body, cloth * _padded(body))

        ribbing = np.maximum(_meet(arm, along - sleeve + 0.12), _meet(body, down - length + 0.12))
        image = _paint(image, _meet(ribbing, canvas.some(self.ribbing)), cloth * canvas.measure(0.5, 0.9))
        collar = _meet(body, 0.08 - below_neck, 0.3 - side, canvas.some(0.5))
        image = _paint(image, collar, cloth * canvas.measure(0.6, 1.4))
        motif = _meet(body, canvas.measure(0.1, 0.3) - side, canvas.measure(0.1, 0.3) - np.abs(down - 0.65))
        image = _paint(image, _meet(motif, canvas.some(self.motif)), canvas.measure(0.1, 1))
        opening = _meet(body, canvas.measure(0.03, 0.08) - side, canvas.some(self.opening))
        image = _paint(image, opening, cloth * canvas.measure(0.1, 0.6))
        buttons = _meet(opening, np.sin(down * canvas.measure(14, 22)) / 20, canvas.some(0.6))
        return _paint(image, buttons, canvas.measure(0.5, 1))

    def _neckline(self, canvas: _Canvas, side: Floats) -> Floats:
        """Where the cloth begins, below the top of the shoulders: a pointed to round neck, then their slope."""
        outward = side / canvas.measure(0.15, 0.28)
        pointed = canvas.measure(0, 1)
        neck = canvas.measure(*self.neck) * (1 - outward * (pointed + (1 - pointed) * outward))
        return np.maximum(neck, canvas.measure(0.15, 0.4) * (side - 0.15))

    def _along_and_across_sleeve(self, canvas: _Canvas, beyond_shoulder: Floats, down: Floats) -> tuple[Floats, Floats]:
        """Distances from the middle of the armhole: down the sleeve, and from its midline."""
        splay = canvas.measure(*self.splay)
        out, drop = beyond_shoulder + 0.12, down - 0.24
        return out * np.sin(splay) + drop * np.cos(splay), np.abs(out * np.cos(splay) - drop * np.sin(splay))


_T_SHIRT = _Top((1.35, 1.7), (0.4, 0.54), (0.36, 0.5), (0.38, 0.52), (0.15, 0.55), splay=(0.5, 1.1), motif=0.5)
_PULLOVER = _Top((1.2, 1.55), (0.42, 0.54), (0.38, 0.52), (0.36, 0.5), (1, 1.35), neck=(0.03, 0.18), ribbing=0.9)
_DRESS = _Top((1.65, 1.95), (0.24, 0.42), (0.18, 0.36), (0.28, 0.65), (-0.8, 0.4), neck=(0.1, 0.5))
_COAT = _Top((1.65, 1.95), (0.42, 0.54), (0.36, 0.5), (0.45, 0.65), (1.1, 1.4), neck=(0.2, 0.6), opening=0.9)
_SHIRT = _Top((1.45, 1.75), (0.36, 0.48), (0.3, 0.42), (0.32, 0.45), (0.6, 1.5), opening=0.9, pattern=0.4)


def _draw_trousers(canvas: _Canvas) -> Floats:
    length, hip, crotch = canvas.measure(1.6, 1.95), canvas.measure(0.26, 0.4), canvas.measure(0.4, 0.65)
    side = np.abs(canvas.x)
    down = canvas.y + length / 2  # from the waistband
    width = _curve(down, (0, hip * canvas.measure(0.75, 0.95)), (crotch, hip), (length, canvas.measure(0.25, 0.55)))
    apart = np.maximum(side - canvas.measure(0.03, 0.14) * (down - crotch), crotch - down)
    legs = _meet(width - side, down, length - down, apart)

    cloth = _cloth(canvas)
    image = _paint(np.zeros_like(side), legs, cloth * _padded(legs))
    waistband = _meet(legs, 0.12 - down, canvas.some(0.6))
    image = _paint(image, waistband, cloth * canvas.measure(0.5, 0.9))
    crease = _meet(legs, 0.03 - np.abs(side - hip / 2), canvas.some(0.4))
    return _paint(image, crease, cloth * canvas.measure(0.6, 1.3))


class _Shoe(NamedTuple):
    """A kind of shoe: the range of each height, the probability of each detail."""

    collar: Range  # at the back, above the sole
    instep: Range  # at the front of the opening, above the sole
    toe: Range
    heel: Range
    sole: Range
    closed: float = 1  # not cut into straps
    laces: float = 0

    def draw(self, canvas: _Canvas) -> Floats:
        collar, instep, toe, heel, sole = (canvas.measure(*height) for height in self[:5])
        ends = canvas.measure(0.8, 0.95) - np.abs(canvas.x)  # toes to the left
        up = (np.maximum(collar, instep) + heel + sole) / 2 - canvas.y  # from the ground
        above_arch = up - _curve(canvas.x, (-0.4, 0), (0.5, heel))
        above_sole = above_arch - sole

        throat = canvas.measure(-0.05, 0.25)
        rim = _curve(canvas.x, (-0.9, 0.5 * toe), (throat - 0.45, toe), (throat, instep), (0.9, collar))
        below_rim = rim - above_sole
        slant = canvas.x + canvas.measure(-1, 1) * up
        straps = 0.03 + np.sin(canvas.measure(7, 14) * slant + canvas.measure(0, 6.3)) / 10
        upper = _meet(below_rim, above_sole, ends, np.maximum(straps, canvas.some(self.closed)))
        block = _meet(-above_arch, up, canvas.x - canvas.measure(-0.3, 0.7))
        bottom = _meet(np.maximum(_meet(above_arch, -above_sole), block), ends)

        cloth = _cloth(canvas)
        image = _paint(np.zeros_like(up), upper, cloth * _padded(upper))
        image = _paint(image, bottom, canvas.measure(0.3, 1))
        cuff = _meet(upper, 0.12 - below_rim, canvas.x - throat, canvas.some(0.5))
        image = _paint(image, cuff, cloth * canvas.measure(0.4, 0.9))
        flash = _meet(upper, canvas.measure(0.05, 0.15) - np.abs(slant - 0.3), canvas.some(0.4))
        image = _paint(image, flash, canvas.measure(0.1, 1))
        laces = _meet(upper, 0.2 - below_rim, throat - canvas.x, np.sin(25 * canvas.x) / 25, canvas.some(self.laces))
        return _paint(image, laces, canvas.measure(0.1, 1))


_SANDAL = _Shoe((0.2, 0.65), (0.2, 0.55), (0.12, 0.22), (0, 0.75), (0.07, 0.16), closed=0.03)
_SNEAKER = _Shoe((0.45, 0.65), (0.45, 0.7), (0.24, 0.34), (0, 0.12), (0.08, 0.2), laces=0.7)
_ANKLE_BOOT = _Shoe((0.8, 1.3), (0.8, 1.3), (0.25, 0.4), (0, 0.45), (0.05, 0.15), laces=0.3)


def _draw_bag(canvas: _Canvas) -> Floats:
    half_width, half_height, rise = canvas.measure(0.45, 0.85), canvas.measure(0.28, 0.6), canvas.measure(0.2, 0.8)
    side = np.abs(canvas.x) * (1 + canvas.measure(-0.2, 0.2) * canvas.y)
    down = canvas.y - rise / 2  # from the middle of the bag, which makes room for the handle
    corner = canvas.measure(0.02, 0.25)
    past_side, past_end = side - half_width + corner, np.abs(down) - half_height + corner
    body = corner - np.hypot(np.maximum(past_side, 0), np.maximum(past_end, 0))
    above = -down - half_height
    ring = np.hypot(canvas.x / (half_width * canvas.measure(0.4, 0.9)), above / rise)
    handle = _meet(canvas.measure(0.03, 0.09) - 0.4 * np.abs(ring - 1), above, canvas.some(0.85))

    cloth = _cloth(canvas)
    image = _paint(np.zeros_like(side), handle, cloth * canvas.measure(0.6, 1))
    image = _paint(image, body, cloth * _padded(body))
    above_seam = above + canvas.measure(0.1, 0.7)
    image = _paint(image, _meet(body, above_seam, canvas.some(0.4)), cloth * canvas.measure(0.6, 1.3))
    seam = _meet(body, 0.03 - np.abs(above_seam), canvas.some(0.5))
    image = _paint(image, seam, cloth * canvas.measure(0.2, 0.7))
    clasp = _meet(body, 0.09 - side, 0.09 - np.abs(above_seam), canvas.some(0.5))
    return _paint(image, clasp, canvas.measure(0.1, 1))


# In the order of the labels.
_DRAW: tuple[Callable[[_Canvas], Floats], ...] = (
    _T_SHIRT.draw,
    _draw_trousers,
    _PULLOVER.draw,
    _DRESS.draw,
    _COAT.draw,
    _SANDAL.draw,
    _SHIRT.draw,
    _SNEAKER.draw,
    _draw_bag,
    _ANKLE_BOOT.draw,
)
