"""What every data module of this project shares: the split, the loaders, the set's identity."""

from abc import abstractmethod
from math import ceil, prod
from typing import Any

import torch
from lightning import LightningDataModule
from lightning.pytorch.accelerators import CUDAAccelerator
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from fashion_mlp.data.augmentation import Augmentation
from fashion_mlp.data.dataset import ImageDataset, held_out_count, identity_collate, in_shared_memory, stratified_split
from fashion_mlp.data.samplers import ContiguousDistributedSampler, ResumableDistributedSampler
from fashion_mlp.runtime.workers import limit_num_workers, max_batch_bytes

Batch = tuple[Tensor, Tensor]

# Of images, in one fetch of several minibatches: they stay in a processor's cache, and large images fit in memory.
FETCH_BYTES = 8 << 20


class ImageDataModule(LightningDataModule):
    """Labelled images in memory, with a validation split out of the training set.

    A batch is a pair: images, uint8 `[B, C, H, W]`, and labels, int64 `[B]`. A subclass says where they come
    from: `prepare_data` puts them on disk, `read_split` brings them into memory, and the attributes name them.

    Args:
        batch_size: images a batch; of several processes, in each.
        eval_batch_size: likewise where nothing is learned, and a large batch only saves time.
        shuffle: whether the training images come in another order each epoch.
        shuffle_seed: seed of those orders.
        num_workers: processes that fetch batches; 0 fetches them in the main process.
        val_size: images, or if less than 1 the part of them, that are held out of the training set, stratified by
            class; 0 for none.
        split_seed: seed of that split.
        train_fraction: the part of the other training images that is learned from, above 0 to 1, stratified likewise.
        augment: what is done to a minibatch for training, once it is on its device; by default nothing.
    """

    # The name of its option in the config group `data`.
    option: str
    # What the set is called in the run's summary and in `metrics.json`.
    name: str
    class_names: tuple[str, ...]
    # Channels, height and width.
    image_shape: tuple[int, int, int]

    def __init__(
        self,
        *,
        batch_size: int = 64,
        eval_batch_size: int = 1000,
        shuffle: bool = True,
        shuffle_seed: int = 0,
        num_workers: int = 0,
        val_size: float = 5000,
        split_seed: int = 0,
        train_fraction: float = 1.0,
        augment: Augmentation | None = None,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.shuffle = shuffle
        self.shuffle_seed = shuffle_seed
        self.num_workers = num_workers
        self.val_size = val_size
        self.split_seed = split_seed
        self.train_fraction = train_fraction
        self.augment = augment or Augmentation()
        # Those of a subclass that decide what the set holds.
        self.arguments: dict[str, Any] = {}
        # Whether validation images come from elsewhere than the training set.
        self.has_own_val = False
        # Minibatches that a training batch holds.
        self.batches_per_fetch = 1
        self.parts: dict[str, ImageDataset] = {}

    def set_batches_per_fetch(self, batches: int) -> None:
        """Let a training batch hold up to `batches` minibatches.

        Their images must fit in `FETCH_BYTES` and, as many of them as workers fetch at once, in shared memory.
        """
        limit = FETCH_BYTES
        if self.num_workers:
            limit = min(limit, max_batch_bytes(self.num_workers, self._num_processes()))
        self.batches_per_fetch = max(1, min(batches, limit // (self.batch_size * prod(self.image_shape))))

    @property
    def identity(self) -> dict[str, Any]:
        """Plain values that tell this set from any other; a checkpoint carries them."""
        split = {"split_seed": self.split_seed, "val_size": self.val_size}
        return {"name": self.name, "option": self.option, "arguments": self.arguments | split}

    @abstractmethod
    def read_split(self, split: str) -> Batch:
        """Return the images and labels of "train" or "test", shaped as a batch; of "val" with `has_own_val`."""

    def num_test_images(self) -> int:
        """Return the number of test images, and read them if that is not known otherwise."""
        return len(self.read_split("test")[1])

    def class_counts(self) -> dict[str, int]:
        """Return the number of images of each class in all parts that are set up."""
        labels = torch.cat([part.labels[part.indices] for part in self.parts.values()])
        counts = torch.bincount(labels, minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    @property
    def has_validation(self) -> bool:
        """Whether there are images to validate on."""
        return self.has_own_val or self.val_size > 0

    def setup(self, stage: str) -> None:
        """Bring into memory what a stage needs; the test set not before the stage "test"."""
        if stage == "fit" and "train" not in self.parts:
            images, labels = self.read_split("train")
            is_split = self.val_size > 0 and not self.has_own_val
            val_count = held_out_count("val_size", self.val_size, len(labels)) if is_split else 0
            train, val = stratified_split(labels, val_count, self.split_seed)
            if self.train_fraction < 1:
                count = held_out_count("train_fraction", self.train_fraction, len(train))
                train = train[stratified_split(labels[train], count, self.split_seed)[1]]
            self.parts["train"] = ImageDataset(images, labels, train)
            own_val = self.read_split("val") if self.has_own_val else (images, labels, val)
            self.parts["val"] = ImageDataset(*own_val)
        elif stage == "test" and "test" not in self.parts:
            self.parts["test"] = ImageDataset(*self.read_split("test"))

    def training_samples(self, count: int) -> Tensor:
        """Return the first training images as a network gets them, augmented; moves no random numbers."""
        images, labels = self.parts["train"].__getitems__(range(min(count, len(self.parts["train"]))))
        with torch.random.fork_rng(devices=[]):
            return self.augment(images, labels, len(self.class_names))[0]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return batches of the training part; a resumed run's begin where it was interrupted."""
        order, batch_size = self._order(), self.batch_size * self.batches_per_fetch
        if self.trainer is not None:
            fit = self.trainer.fit_loop
            progress = fit.epoch_loop.batch_progress
            # A checkpoint of the validation at the end of an epoch is of its last batch: the next epoch follows.
            done = progress.current.completed if fit.restarting and not progress.is_last_batch else 0
            order.go_on(self.trainer.current_epoch, done * batch_size)
        return self.loader("train", batch_size=batch_size, sampler=order)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return batches of the validation part; without any, give the Trainer `limit_val_batches=0`."""
        return self.loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return batches of the test set."""
        return self.loader("test")

    def loader(
        self, part: str, *, batch_size: int | None = None, sampler: Sampler[Any] | None = None
    ) -> DataLoader[Batch]:
        """Return batches of "train", "val" or "test", once `setup` has read them.

        They come as they lie, of several processes to each its share, unless a sampler says otherwise.
        """
        if sampler is None and (share := self._share()):
            sampler = ContiguousDistributedSampler(self.parts[part], **share)
        batch_size = min(batch_size or self.eval_batch_size, len(self.parts[part]))
        workers = limit_num_workers(self.num_workers, batch_size * prod(self.image_shape), self._num_processes())
        return DataLoader(
            self.parts[part],
            batch_size=batch_size,
            sampler=sampler,
            # A loader draws a seed for its workers: not from the run's random numbers, so that looking at data, or
            # resuming a run, does not change what is learned.
            generator=torch.Generator(),
            # `__getitems__` returns a batch, not a list.
            collate_fn=in_shared_memory if workers else identity_collate,  # type: ignore[arg-type]
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.trainer is not None and isinstance(self.trainer.accelerator, CUDAAccelerator),
        )

    def _num_processes(self) -> int:
        return 1 if self.trainer is None else self.trainer.world_size

    def num_minibatches(self) -> int:
        """Return how many minibatches an epoch of training has, in each process."""
        return ceil(len(self._order()) / self.batch_size)

    def _order(self) -> ResumableDistributedSampler:
        """Return which training images this process takes, and in which order."""
        return ResumableDistributedSampler(
            self.parts["train"], seed=self.shuffle_seed, shuffle=self.shuffle, **self._share()
        )

    def _share(self) -> dict[str, int]:
        """Return which of several processes this is; nothing if there is one, or each is to take the whole."""
        trainer = self.trainer
        if trainer is None or not trainer._accelerator_connector.use_distributed_sampler:
            return {}
        return trainer.distributed_sampler_kwargs or {}
