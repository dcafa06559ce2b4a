"""Memory that a device does not have, told with the keys that lower what is asked of it."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fashion_mlp.runtime.errors import UserError

# What errors say about a lack of memory.
OOM_MESSAGES = (
    "out of memory",  # torch on CUDA and MPS
    "can't allocate memory",  # torch on a CPU
    "not enough memory",  # torch on a CPU under Windows
    "ALLOC_FAILED",  # CUDA's libraries
    "failed to map segment",  # the dynamic loader, as an ImportError
    "Cannot allocate memory",  # the system, as an OSError
)


def is_oom_error(error: BaseException) -> bool:
    """Return whether an error says that memory could not be had."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ImportError | OSError) and any(sign in str(error) for sign in OOM_MESSAGES)
    )


@contextmanager
def explain_oom(remedy: str) -> Iterator[None]:
    """Turn a lack of memory into one line.

    Args:
        remedy: what to do about it.

    Raises:
        UserError: there was too little.
    """
    try:
        yield
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        if not is_oom_error(error):
            raise
        wanted = re.search(r"allocate ([\d.]+ \w+)", str(error))
        device = next((name for name in ("CUDA", "MPS") if name in str(error)), "the CPU")
        size = f", which could not give {wanted[1]} more" if wanted else ""
        raise UserError(f"out of memory on {device}{size}: {remedy}") from error


def oom_hint(config: Mapping[str, Any]) -> str:
    """Return the keys of a run that decide how much memory it takes, with their values."""
    data = config["data"]
    keys = [f"data.batch_size ({data.get('batch_size')})"]
    if "hidden_sizes" in config["model"]:
        keys.append(f"model.hidden_sizes ({list(config['model']['hidden_sizes'])})")
    evaluation = f"data.eval_batch_size ({data.get('eval_batch_size')})"
    return f"lower {', '.join(keys)}, for validation and test {evaluation}, or set trainer.precision=bf16-true"
