"""Multilayer perceptrons on Fashion-MNIST with PyTorch Lightning and Hydra.

Train without Hydra: a data module, a network, a classifier, and Lightning's Trainer. The images are downloaded to
`data/`; here they are drawn instead.

>>> from functools import partial
>>> import lightning, torch
>>> from fashion_mlp import MLP, Classifier, SyntheticDataModule
>>> data = SyntheticDataModule(train_size=600, test_size=100, val_size=100)    # or FashionMNISTDataModule()
>>> classifier = Classifier(MLP(hidden_sizes=[32]), data.class_names, optimizer=partial(torch.optim.Adam, lr=1e-3))
>>> trainer = lightning.Trainer(max_epochs=1, enable_progress_bar=False, enable_model_summary=False)
>>> trainer.fit(classifier, data)
>>> results = trainer.test(classifier, data, verbose=False)

Use a checkpoint of `train.py`. The classifier takes raw pixels, and loading it executes nothing from the file:

>>> classifier = fashion_mlp.load_classifier("best.ckpt")    # doctest: +SKIP
>>> images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
>>> names, probabilities = classifier.predict(images)
>>> probabilities.shape
torch.Size([3, 10])

Run a configuration as `python train.py` does, in a notebook or script:

>>> run = train(compose("experiment=fast", "optimizer.lr=1e-3"))    # doctest: +SKIP
>>> run.metrics["test/acc"], run.directory                          # doctest: +SKIP

Importing the package does not import torch; each name below is imported when it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fashion_mlp.api import compose, train
    from fashion_mlp.classifier import Classifier
    from fashion_mlp.data import (
        FashionMNISTDataModule,
        ImageCSVDataModule,
        ImageDataModule,
        ImageFolderDataModule,
        SyntheticDataModule,
    )
    from fashion_mlp.inference.load import load_classifier
    from fashion_mlp.models import MLP

__all__ = [
    "MLP",
    "Classifier",
    "FashionMNISTDataModule",
    "ImageCSVDataModule",
    "ImageDataModule",
    "ImageFolderDataModule",
    "SyntheticDataModule",
    "compose",
    "load_classifier",
    "train",
]
__version__ = "0.1.0"
_MODULES = {
    "MLP": "models",
    "Classifier": "classifier",
    "compose": "api",
    "load_classifier": "inference.load",
    "train": "api",
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"fashion_mlp.{_MODULES.get(name, 'data')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
