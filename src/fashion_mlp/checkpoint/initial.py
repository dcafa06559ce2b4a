"""The checkpoint that a run starts from."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning import Trainer

from fashion_mlp.checkpoint.load import read_checkpoint
from fashion_mlp.classifier import METADATA_KEY, Classifier
from fashion_mlp.config.messages import format_count, format_value
from fashion_mlp.config.records import differences
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.run_directory import BEST, LAST, PREVIOUS, relative_to_cwd

log = logging.getLogger(__name__)

# Entries of a checkpoint that Lightning restores, besides the weights.
TRAINING_STATE = ("callbacks", "global_step", "loops", "lr_schedulers", "optimizer_states")
# Sections of the configuration whose state a checkpoint contains.
SECTIONS = ("optimizer", "scheduler", "callbacks.ema")


@dataclass(frozen=True)
class InitialCheckpoint:
    """A checkpoint and what a run restores from it; without a path, the run starts from random weights.

    Args:
        path: the file, or None.
        checkpoint: its content.
        restore: "all" for the weights, optimizer, schedule and epoch; "weights"; or "weights_except_last" for those of
            all layers but the last, whose size is the number of classes.
        is_resumed: True if the run itself saved the checkpoint.
    """

    path: Path | None = None
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    restore: str = "weights"
    is_resumed: bool = False

    @property
    def description(self) -> str:
        """A line for the summary of the run; empty without a checkpoint."""
        restored = f"with optimizer and schedule, after step {self.checkpoint.get('global_step')}"
        if self.restore != "all":
            restored = "weights only" + (" except the last layer" if self.restore == "weights_except_last" else "")
        return f"{relative_to_cwd(self.path)}, {restored}" if self.path else ""

    def restore_weights(self, classifier: Classifier, trainer: Trainer) -> None:
        """Check the checkpoint and restore its weights; `Trainer.fit` restores them again with the full state.

        Raises:
            UserError: the checkpoint does not fit the run, or all of its epochs are trained already.
        """
        self._check(classifier, trainer)
        # Lightning converts the weights after it has restored them, which would round 64-bit weights to 32 bits.
        trainer.precision_plugin.convert_module(classifier)
        if self.path is None:
            return
        weights = self.checkpoint["state_dict"]
        if self.restore == "weights_except_last":
            current = classifier.state_dict()
            layer = list(current)[-1].rpartition(".")[0]
            weights = weights | {name: value for name, value in current.items() if name.rpartition(".")[0] == layer}
        try:
            classifier.load_state_dict(weights)
        except RuntimeError as error:
            problem = str(error).splitlines()[1].strip("\t .")  # the first of the differences that torch lists
            raise UserError(
                f"ckpt_path={self.path}: weights of another network ({problem}). Set model.* as in its run; for other "
                "classes, leave out the last layer with ckpt_restore=weights_except_last"
            ) from error

    def _check(self, classifier: Classifier, trainer: Trainer) -> None:
        """Check that the full state of another run fits this one, and that a resumed run has its custom images."""
        saved, current = self.checkpoint.get(METADATA_KEY, {}), classifier.metadata
        if self.is_resumed:
            recorded, data = saved.get("data", {}), current["data"]
            if any(recorded.get(name) != data.get(name) for name in ("files", "val_files")):
                raise UserError(f"data: {data['name']} have changed since the run was started. Expected the same files")
        if self.is_resumed or self.path is None or self.restore != "all":
            return
        remedy = "restore its weights only: ckpt_restore=weights"
        before, now = (
            {name: metadata.get(name) or {"_target_": None} for name in SECTIONS} for metadata in (saved, current)
        )
        for key, trained, configured in differences(before, now):
            raise UserError(
                f"{key.removesuffix('._target_')}={format_value(configured)}: ckpt_path={self.path} was trained with "
                f"{format_value(trained)}. Use that, or {remedy}"
            )
        epochs = int(self.checkpoint["loops"]["fit_loop"]["epoch_progress"]["total"]["processed"])
        if trainer.max_epochs is not None and 0 <= trainer.max_epochs <= epochs:
            trained = f"trained for {format_count(epochs, 'epoch')} already"
            raise UserError(f"ckpt_path={self.path}: {trained}. Set trainer.max_epochs above that, or {remedy}")


def load_initial_checkpoint(path: str | Path | None, restore: str, *, is_resumed: bool = False) -> InitialCheckpoint:
    """Load a checkpoint, such as the one that `ckpt_path` names.

    Args:
        path: the file, or None.
        restore: what a run restores from it, as in `InitialCheckpoint`.
        is_resumed: True if the run itself saved the checkpoint.

    Raises:
        UserError: it is not a checkpoint of this project, or lacks the training state that is to be restored.
    """
    if path is None:
        return InitialCheckpoint()
    path = Path(path).expanduser()
    checkpoint = read_checkpoint(path)
    missing = [name for name in TRAINING_STATE if name not in checkpoint]
    if missing and restore == "all":
        raise UserError(f"{path}: incomplete ({missing[0]!r} is missing). Only ckpt_restore=weights accepts it")
    return InitialCheckpoint(path, checkpoint, restore, is_resumed)


def load_resume_checkpoint(directory: Path) -> InitialCheckpoint | None:
    """Load `last.ckpt`, or `previous.ckpt` if it is missing, damaged or incomplete.

    Returns:
        The checkpoint; None if the directory contains neither: the run was interrupted before its first checkpoint.

    Raises:
        UserError: no checkpoint can be used.
    """
    problems: list[str] = []
    for path in filter(Path.is_file, (directory / LAST, directory / PREVIOUS)):
        try:
            initial = load_initial_checkpoint(path, "all", is_resumed=True)
        except UserError as error:
            problems.append(str(error))
            continue
        if problems:
            log.warning(f"{problems[0]}\nResuming from {path.name}")
        return initial
    if problems:
        remedy = f"Start a new run with ckpt_path={directory / BEST}"
        raise UserError(*problems, f"{directory}: no checkpoint to resume from. {remedy}")
    return None
