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
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.runtime.run_directory import BEST, LAST, PREVIOUS, relative_to_cwd

log = logging.getLogger(__name__)

# Entries of a checkpoint that Lightning restores, besides the weights.
TRAINING_STATE = ("callbacks", "global_step", "loops", "lr_schedulers", "optimizer_states")


@dataclass(frozen=True)
class InitialCheckpoint:
    """A checkpoint and what a run restores from it; without a path, the run starts from random weights.

    Args:
        path: the file, or None.
        checkpoint: its content.
        full_state: True to restore optimizer, schedule and epoch too, False to restore the weights only.
        is_resumed: True if the run itself saved the checkpoint.
        skip_last_layer: True to leave out the last layer, whose size is the number of classes.
    """

    path: Path | None = None
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    full_state: bool = False
    is_resumed: bool = False
    skip_last_layer: bool = False

    @property
    def description(self) -> str:
        """A line for the summary of the run; empty without a checkpoint."""
        if self.path is None:
            return ""
        restored = "weights only" + (" except the last layer" if self.skip_last_layer else "")
        if self.full_state:
            restored = f"with optimizer and schedule, after step {self.checkpoint['global_step']}"
        return f"{relative_to_cwd(self.path)}, {restored}"

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
        if self.skip_last_layer:
            current = classifier.state_dict()
            layer = list(current)[-1].rpartition(".")[0]
            weights = weights | {name: value for name, value in current.items() if name.rpartition(".")[0] == layer}
        try:
            classifier.load_state_dict(weights)
        except RuntimeError as error:
            problem = str(error).splitlines()[1].strip("\t .")  # the first of the differences that torch lists
            raise UserError(
                f"ckpt_path={self.path}: weights of another network ({problem}). Set model.* as in its run; for other "
                "classes, leave out the last layer with ckpt_weights_only=except_last"
            ) from error

    def _check(self, classifier: Classifier, trainer: Trainer) -> None:
        """Check that the full state of another run fits this one, and that a resumed run has its custom images."""
        saved, data = self.checkpoint.get(METADATA_KEY, {}).get("data", {}), classifier.metadata["data"]
        names = ("files", "val_files")
        if self.is_resumed and any(saved.get(name, data.get(name)) != data.get(name) for name in names):
            raise UserError(f"data: {data['name']} have changed since the run was started. Expected the same files")
        if self.is_resumed or not self.full_state:
            return
        for section in ("optimizer", "scheduler", "callbacks.ema"):
            self._check_same(section, classifier.metadata[section])
        epochs = int(self.checkpoint["loops"]["fit_loop"]["epoch_progress"]["total"]["processed"])
        if trainer.max_epochs is not None and 0 <= trainer.max_epochs <= epochs:
            raise UserError(
                f"ckpt_path={self.path}: trained for {format_count(epochs, 'epoch')} already. Set trainer.max_epochs "
                "above that, or restore its weights only: ckpt_weights_only=true"
            )

    def _check_same(self, section: str, config: Mapping[str, Any] | None) -> None:
        """Check that a section has the configuration whose state Lightning would restore."""
        saved, current = self.checkpoint[METADATA_KEY].get(section) or {}, config or {}
        for key in {**saved, **current}:
            if saved.get(key) != current.get(key):
                name = section if key == "_target_" else f"{section}.{key}"
                raise UserError(
                    f"{name}={format_value(current.get(key))}: ckpt_path={self.path} was trained with "
                    f"{format_value(saved.get(key))}. Use that, or restore its weights only: ckpt_weights_only=true"
                )


def load_initial_checkpoint(path: str | None, *, weights_only: bool | str) -> InitialCheckpoint:
    """Load the checkpoint that `ckpt_path` names.

    Args:
        path: the file, or None.
        weights_only: True to restore the weights only, "except_last" to leave out those of the last layer too.

    Raises:
        UserError: it is not a checkpoint of this project, or lacks the training state that is to be restored.
    """
    if path is None:
        return InitialCheckpoint()
    file = Path(path).expanduser()
    checkpoint = read_checkpoint(file) if weights_only else _read_full_state(file)
    return InitialCheckpoint(file, checkpoint, not weights_only, skip_last_layer=weights_only == "except_last")


def load_resume_checkpoint(directory: Path) -> InitialCheckpoint | None:
    """Load `last.ckpt`, or `previous.ckpt` if it is missing, damaged or incomplete.

    Returns:
        The checkpoint; None if the directory contains neither: the run was interrupted before its first checkpoint.

    Raises:
        UserError: no checkpoint can be used.
    """
    problems: list[str] = []
    for path in (directory / LAST, directory / PREVIOUS):
        if not path.is_file():
            continue
        try:
            checkpoint = _read_full_state(path)
        except UserError as error:
            problems.append(str(error))
            continue
        if problems:
            log.warning(f"{problems[0]}\nResuming from {path.name}")
        return InitialCheckpoint(path, checkpoint, full_state=True, is_resumed=True)
    if problems:
        remedy = f"Start a new run with ckpt_path={directory / BEST}"
        raise UserError(*problems, f"{directory}: no checkpoint to resume from. {remedy}")
    return None


def _read_full_state(path: Path) -> Mapping[str, Any]:
    checkpoint = read_checkpoint(path)
    for name in TRAINING_STATE:
        if name not in checkpoint:
            raise UserError(
                f"{path}: incomplete ({name!r} is missing). Expected more than ckpt_weights_only=true needs"
            )
    return checkpoint
