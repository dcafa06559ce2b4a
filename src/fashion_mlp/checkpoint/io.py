"""How checkpoints are written: wholly, or not at all."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from fashion_mlp.runtime.atomic import replacing


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the one it replaces, and has it on the disk before it takes its name.

    A run that is killed, a full disk or a power cut leaves the earlier file as it was.

    Args:
        run_dir: while it exists, missing parent directories of a checkpoint are created.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        content = io.BytesIO()  # torch's own writer to a file would not tell why it failed
        torch.save(checkpoint, content)
        if self.run_dir.is_dir():  # else it was removed: to create it again would hide that
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(path)) as file:
            file.write(content.getbuffer())
