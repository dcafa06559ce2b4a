"""Write checkpoints atomically."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from fashion_mlp.runtime.atomic import atomic_write


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint to a temporary file on the disk, then rename it.

    A killed run, a full disk or a power loss does not damage the file that it replaces.

    Args:
        run_dir: while it exists, missing parent directories of a checkpoint are created.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        content = io.BytesIO()  # the file writer of torch does not report the cause of a failure
        torch.save(checkpoint, content)
        if self.run_dir.is_dir():  # otherwise it was removed, which must be an error
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(Path(path)) as file:
            file.write(content.getbuffer())
