"""States of the random number generators, as plain values and tensors that a checkpoint can contain."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.random import get_state, set_state


def get_rng_state(device: torch.device) -> dict[str, Any]:
    """Return the states of the generators of PyTorch for the CPU and `device`, of NumPy and of Python."""
    numpy_state = get_state(legacy=False)  # noqa: NPY002, the global generator, which libraries use
    assert isinstance(numpy_state, dict)
    version, internal, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": {**numpy_state, "state": {**numpy_state["state"], "key": numpy_state["state"]["key"].tolist()}},
        "python": [version, list(internal), gauss],
    }
    if device.type in ("cuda", "mps"):
        state[device.type] = getattr(torch, device.type).get_rng_state()
    return state


def set_rng_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Restore the states that `get_rng_state` returned; a generator that is not among them keeps its own."""
    torch.set_rng_state(state["torch"])
    numpy_state = state["numpy"]
    inner = {**numpy_state["state"], "key": np.array(numpy_state["state"]["key"], np.uint32)}
    set_state({**numpy_state, "state": inner})  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    if device.type in state:
        getattr(torch, device.type).set_rng_state(state[device.type])
