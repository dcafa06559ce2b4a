"""Synthetic garments: format, reproducibility, and how well their classes can be separated."""

import numpy as np
import numpy.typing as npt
import pytest

from fashion_mlp.data.synthetic import Bytes, draw_garments

T_SHIRT, TROUSER, PULLOVER, DRESS, COAT, SANDAL, SHIRT, SNEAKER, BAG, ANKLE_BOOT = range(10)

Floats = npt.NDArray[np.floating]
Split = tuple[Bytes, Bytes]


@pytest.fixture(scope="module")
def train() -> Split:
    return draw_garments(3000, seed=1)


@pytest.fixture(scope="module")
def test() -> Split:
    return draw_garments(1000, seed=2)


def pixels(images: Bytes) -> Floats:
    return images.reshape(len(images), -1) / 255


def accuracy_of_least_squares(train: Floats, train_labels: Bytes, test: Floats, test_labels: Bytes) -> float:
    ridge = 0.01 * len(train) * np.eye(train.shape[1])
    weight = np.linalg.solve(train.T @ train + ridge, train.T @ np.eye(10)[train_labels])
    return float(np.mean((test @ weight).argmax(axis=1) == test_labels))


@pytest.mark.parametrize("count", [1, 7, 25])
def test_format(count: int) -> None:
    images, labels = draw_garments(count, seed=0)
    assert images.shape == (count, 28, 28)
    assert labels.shape == (count,)
    assert images.dtype == labels.dtype == np.uint8


def test_same_count_and_seed_draw_the_same() -> None:
    for first, second in zip(draw_garments(50, seed=3), draw_garments(50, seed=3), strict=True):
        np.testing.assert_array_equal(first, second)


def test_no_image_is_drawn_twice_within_a_seed_or_across_two() -> None:
    images = np.concatenate([draw_garments(500, seed)[0] for seed in (0, 1)])
    assert len(np.unique(pixels(images), axis=0)) == len(images)


@pytest.mark.parametrize("count", [7, 50, 123])
def test_classes_are_balanced(count: int) -> None:
    _, labels = draw_garments(count, seed=0)
    sizes = np.bincount(labels, minlength=10)
    assert len(sizes) == 10
    assert sizes.max() - sizes.min() <= 1


def test_seed_shuffles_the_labels() -> None:
    first, second = (draw_garments(100, seed)[1] for seed in (0, 1))
    np.testing.assert_array_equal(np.sort(first), np.sort(second))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, np.sort(first))


def test_garments_are_light_on_black(train: Split) -> None:
    images, _ = train
    black = (images == 0).mean(axis=(1, 2))
    assert black.min() > 0.3
    assert black.max() < 0.95
    assert images.max(axis=(1, 2)).min() > 32  # the dimmest is still to be seen
    assert images[images > 0].mean() > 100


def test_garments_have_the_proportions_of_their_classes(train: Split) -> None:
    images, labels = train
    lit = images > 0
    rows, columns = lit.any(axis=2).sum(axis=1), lit.any(axis=1).sum(axis=1)
    height, width, area = (
        [values[labels == label].mean() for label in range(10)] for values in (rows, columns, lit.sum(axis=(1, 2)))
    )
    for tall in (TROUSER, DRESS):
        assert height[tall] > 1.5 * width[tall]
    for flat in (SANDAL, SNEAKER):
        assert width[flat] > 1.5 * height[flat]
    assert height[ANKLE_BOOT] > 1.5 * height[SNEAKER]
    assert height[COAT] > height[SHIRT] > height[PULLOVER]  # long, middling, short
    assert area[SANDAL] < 0.9 * area[SNEAKER]  # straps leave gaps
    assert area[COAT] == max(area)
    assert 0.8 < height[BAG] / width[BAG] < 1.25
    assert 0.8 < height[T_SHIRT] / width[T_SHIRT] < 1.25

    stretches_at_the_knees = (np.diff(lit[:, 20].astype(int), axis=1) == 1).sum(axis=1)
    assert np.median(stretches_at_the_knees[labels == TROUSER]) == 2
    assert np.median(stretches_at_the_knees[labels == DRESS]) == 1


def test_classes_differ_but_overlap(train: Split, test: Split) -> None:
    means = np.stack([pixels(train[0][train[1] == label]).mean(axis=0) for label in range(10)])
    distances = np.linalg.norm(pixels(test[0])[:, None] - means, axis=2)
    correct = distances.argmin(axis=1) == test[1]
    assert 0.4 < correct.mean() < 0.7
    assert all(correct[test[1] == label].mean() > 0.2 for label in range(10))  # twice chance in every class


def test_hidden_layer_beats_a_linear_model(train: Split, test: Split) -> None:
    (train_images, train_labels), (test_images, test_labels) = train, test
    hidden = np.random.default_rng(0).standard_normal((28 * 28, 1000)) / 28  # random and fixed: quick and repeatable

    def features(images: Bytes) -> Floats:
        return np.maximum(pixels(images) @ hidden, 0)

    linear = accuracy_of_least_squares(pixels(train_images), train_labels, pixels(test_images), test_labels)
    mlp = accuracy_of_least_squares(features(train_images), train_labels, features(test_images), test_labels)
    assert linear > 0.5
    assert mlp > linear + 0.1
