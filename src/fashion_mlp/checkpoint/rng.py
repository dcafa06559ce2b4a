"""The random number generators of a process, as plain values and tensors that a checkpoint can hold."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.random import get_state, set_state

GPUS = ("cuda", "mps")


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the state of PyTorch's generators for the CPU and `device`, of NumPy's and of Python's."""
    numpys = get_state(legacy=False)  # noqa: NPY002, what others may have used
    assert isinstance(numpys, dict)
    version, internal, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": {**numpys, "state": {**numpys["state"], "key": numpys["state"]["key"].tolist()}},
        "python": [version, list(internal), gauss],
    }
    if device.type in GPUS:
        state[device.type] = getattr(torch, device.type).get_rng_state()
    return state


def set_rng_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Go back to a state that `random_state` returned; a generator that it does not name is left alone."""
    torch.set_rng_state(state["torch"])
    numpys = state["numpy"]
    inner = {**numpys["state"], "key": np.array(numpys["state"]["key"], np.uint32)}
    set_state({**numpys, "state": inner})  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    if device.type in state:
        getattr(torch, device.type).set_rng_state(state[device.type])
