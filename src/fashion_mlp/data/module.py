"""The base of all data modules: splits, loaders, and the metadata that identify the data."""

from abc import abstractmethod
from dataclasses import dataclass, field
from math import ceil, prod
from typing import Any, ClassVar

import torch
from lightning import LightningDataModule
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from fashion_mlp.data.augmentation import Augmentation
from fashion_mlp.data.dataset import (
    ImageDataset,
    ResumableDistributedSampler,
    count_held_out,
    identity_collate,
    stratified_folds,
    stratified_split,
    to_shared_memory,
)
from fashion_mlp.runtime.errors import UserError

Batch = tuple[Tensor, Tensor]

# Size of the images in one fetch of several batches: they fit in a CPU cache.
FETCH_BYTES = 8 << 20


@dataclass(kw_only=True, eq=False, repr=False)
class ImageDataModule(LightningDataModule):
    """Labelled images in memory, with a validation split taken from the training images.

    A batch is a pair: images, uint8 `[B, C, H, W]`, and labels, int64 `[B]`. A subclass implements `read_split`, and
    `prepare_data` if it downloads or writes files. It sets the attributes below and registers itself by the name of
    its YAML file in `conf/data/`: `class MyDataModule(ImageDataModule, option="my_data")`.

    Args:
        batch_size: number of images per training batch, in each process.
        eval_batch_size: number of images per batch in validation and test, where a larger one only saves time.
        shuffle: True to shuffle the training images in each epoch.
        shuffle_seed: seed of the shuffling.
        num_workers: number of processes that fetch batches; 0 to fetch them in the main process.
        val_size: number of training images, or their fraction if less than 1, to hold out for validation, stratified
            by class; 0 for none.
        split_seed: seed of that split, or of the folds.
        folds: number of folds of a cross-validation, of which one is held out in place of `val_size` images; None for
            a single split.
        fold: the fold to hold out, from 0.
        train_fraction: fraction of the remaining training images to train on, in (0, 1], stratified by class.
        balanced_sampling: if True, draw the images of an epoch with replacement, each class with the same probability.
        augment: augmentation for `training_samples`; none by default. `Classifier` augments the training batches.

    Attributes:
        option: name of the data module on the command line and in checkpoints.
        name: name of the data set in reports.
        class_names: names of the classes, in the order of the labels.
        image_shape: channels, height and width.
        source_key: name of the argument that locates custom images; empty for a fixed data set.
        is_light_on_black: True if all images are objects, light on black, so that `fashion-mlp predict` converts
            photographs.
        left_facing: names of the classes whose objects point left in all images.
    """

    registry: ClassVar[dict[str, type["ImageDataModule"]]] = {}
    option: ClassVar[str]
    source_key: ClassVar[str] = ""
    is_light_on_black: ClassVar[bool] = False
    left_facing: ClassVar[tuple[str, ...]] = ()

    batch_size: int = 64
    eval_batch_size: int = 1000
    shuffle: bool = True
    shuffle_seed: int = 0
    num_workers: int = 0
    val_size: float = 5000
    split_seed: int = 0
    folds: int | None = None
    fold: int = 0
    balanced_sampling: bool = False
    train_fraction: float = 1.0
    augment: Augmentation = field(default_factory=Augmentation)

    name: str = field(init=False)
    class_names: tuple[str, ...] = field(init=False)
    image_shape: tuple[int, int, int] = field(init=False)
    # The arguments of a subclass that determine its images.
    arguments: dict[str, Any] = field(init=False, default_factory=dict)
    # Whether validation images have a source of their own.
    has_own_val: bool = field(init=False, default=False)
    batches_per_fetch: int = field(init=False, default=1)
    splits: dict[str, ImageDataset] = field(init=False, default_factory=dict)

    def __init_subclass__(cls, *, option: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if option is not None:
            cls.option = option
            cls.registry[option] = cls

    def __post_init__(self) -> None:
        super().__init__()

    def set_batches_per_fetch(self, batches: int) -> None:
        """Let the training loader fetch up to `batches` batches at once.

        The images of a fetch fit in `FETCH_BYTES`. Workers send batches through shared memory, of which containers
        often have 64 MB. Each worker prefetches two, and the main process holds two: 16 MiB for any number of workers.
        """
        limit = FETCH_BYTES // (1 + self.num_workers)
        self.batches_per_fetch = max(1, min(batches, limit // (self.batch_size * prod(self.image_shape))))

    @property
    def identity(self) -> dict[str, Any]:
        """Plain values that identify the data; checkpoints contain them."""
        held_out = {"folds": self.folds, "fold": self.fold} if self.folds else {"val_size": self.val_size}
        split = {"split_seed": self.split_seed, **held_out}
        return {"name": self.name, "option": self.option, "arguments": self.arguments | split}

    @abstractmethod
    def read_split(self, split: str) -> Batch:
        """Return all images and labels of "train" or "test", and of "val" if `has_own_val`, in the form of a batch."""

    def num_test_images(self) -> int:
        """Return the number of test images; read them only if it is not known otherwise."""
        return len(self.read_split("test")[1])

    def class_counts(self) -> dict[str, int]:
        """Return the number of images of each class in the splits that are set up."""
        labels = torch.cat([dataset.selected_labels for dataset in self.splits.values()])
        counts = torch.bincount(labels, minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    @property
    def has_validation(self) -> bool:
        """True if there are validation images."""
        return self.has_own_val or self.val_size > 0 or self.folds is not None

    def setup(self, stage: str) -> None:
        """Read the splits that a stage needs into memory; the test images only for the stage "test"."""
        if stage in ("fit", "validate") and "train" not in self.splits:
            images, labels = self.read_split("train")
            is_held_out = self._hold_out(labels)
            train, val = (~is_held_out).nonzero().squeeze(1), is_held_out.nonzero().squeeze(1)
            if self.train_fraction < 1:
                count = count_held_out("train_fraction", self.train_fraction, len(train))
                train = train[stratified_split(labels[train], count, self.split_seed)]
            self.splits["train"] = ImageDataset(images, labels, train)
            own_val = self.read_split("val") if self.has_own_val else (images, labels, val)
            self.splits["val"] = ImageDataset(*own_val)
        elif stage == "test" and "test" not in self.splits:
            self.splits["test"] = ImageDataset(*self.read_split("test"))

    def _hold_out(self, labels: Tensor) -> Tensor:
        """Return True for each training image that is held out for validation, bool `[N]`."""
        if self.has_own_val or not self.has_validation:
            return torch.zeros(len(labels), dtype=torch.bool)
        if self.folds is None:
            return stratified_split(labels, count_held_out("val_size", self.val_size, len(labels)), self.split_seed)
        if self.folds > len(labels):
            raise UserError(f"data.folds={self.folds}: {len(labels)} images. Expected at most that")
        return stratified_folds(labels, self.folds, self.split_seed) == self.fold

    def training_samples(self, count: int) -> Tensor:
        """Return the first training images, augmented, without a change of the random state."""
        images, labels = self.splits["train"].first(count)
        with torch.random.fork_rng(devices=[]):
            return self.augment(images, labels, len(self.class_names))[0]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return a loader of the training images; that of a resumed run starts where the run was interrupted."""
        sampler, batch_size = self._train_sampler(), self.batch_size * self.batches_per_fetch
        if self.trainer is not None:
            fit = self.trainer.fit_loop
            progress = fit.epoch_loop.batch_progress
            # After the last batch of an epoch, the run resumes with the next epoch.
            done = progress.current.completed if fit.restarting and not progress.is_last_batch else 0
            sampler.resume(self.trainer.current_epoch, done * batch_size)
        return self.loader("train", batch_size=batch_size, sampler=sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return a loader of the validation images; without validation, the Trainer needs `limit_val_batches=0`."""
        return self.loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self.loader("test")

    def loader(
        self, split: str, *, batch_size: int | None = None, sampler: Sampler[Any] | None = None
    ) -> DataLoader[Batch]:
        """Return a loader of "train", "val" or "test" after `setup`.

        By default it yields the images in order. Several processes share them without repetition, so that metrics count
        each image once.
        """
        dataset = self.splits[split]
        if sampler is None and (share := self._share()):
            if len(dataset) < share["num_replicas"]:
                raise UserError(f"trainer.devices: {len(dataset)} images to evaluate are fewer than the processes")
            sampler = UnrepeatedDistributedSampler(dataset, shuffle=False, **share)
        return DataLoader(
            dataset,
            batch_size=min(batch_size or self.eval_batch_size, len(dataset)),
            sampler=sampler,
            # The loader draws a seed for its workers. A separate generator leaves the run's random state unchanged.
            generator=torch.Generator(),
            # `__getitems__` returns a batch, not a list.
            collate_fn=to_shared_memory if self.num_workers else identity_collate,  # type: ignore[arg-type]
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=self.trainer is not None and isinstance(self.trainer.accelerator, CUDAAccelerator),
        )

    def num_batches(self) -> int:
        """Return the number of batches per training epoch in each process."""
        return ceil(len(self._train_sampler()) / self.batch_size)

    def _train_sampler(self) -> ResumableDistributedSampler:
        train = self.splits["train"]
        labels = train.selected_labels
        weights = 1 / labels.bincount()[labels] if self.balanced_sampling else None
        return ResumableDistributedSampler(
            train, seed=self.shuffle_seed, shuffle=self.shuffle, weights=weights, **self._share()
        )

    def _share(self) -> dict[str, Any]:
        """Return `num_replicas` and `rank` of this process; empty if each process takes all images."""
        return {} if self.trainer is None else self.trainer.distributed_sampler_kwargs or {}
