"""The time that training takes."""

import json
import time
from pathlib import Path

from lightning import Callback, LightningModule, Trainer


class Stopwatch(Callback):
    """Write when training started, on the clock of `time.time()`, and its seconds to a JSON file.

    Args:
        path: the file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.start = time.time()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.path.write_text(json.dumps({"start": self.start, "seconds": time.time() - self.start}))
