"""States of the random number generators, as plain values and tensors that a checkpoint can contain."""

import random
from collections.abc import Mapping
from typing import Any

import torch
from numpy.random import get_state, set_state


def get_rng_state(device: torch.device) -> dict[str, Any]:
    """Return the states of the generators of PyTorch for the CPU and `device`, of NumPy and of Python."""
    numpy_state: Any = get_state()  # noqa: NPY002, the global generator, which libraries use
    kind, keys, *rest = numpy_state
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": (kind, keys.tolist(), *rest),
        "python": random.getstate(),
    }
    if device.type in ("cuda", "mps"):
        state[device.type] = getattr(torch, device.type).get_rng_state()
    return state


def set_rng_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Restore the states that `get_rng_state` returned; a generator that is not among them keeps its own."""
    torch.set_rng_state(state["torch"])
    set_state(state["numpy"])  # noqa: NPY002
    random.setstate(state["python"])
    if device.type in state:
        getattr(torch, device.type).set_rng_state(state[device.type])
