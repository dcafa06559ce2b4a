"""What a user may have meant by a name that does not exist."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

FAMILIAR = {
    **dict.fromkeys(("learning_rate", "learningrate"), "optimizer.lr"),
    **dict.fromkeys(("epochs", "num_epochs", "n_epochs", "epoch"), "trainer.max_epochs"),
    **dict.fromkeys(("hidden_layers", "layers", "units", "hidden_dims", "hidden_units"), "model.hidden_sizes"),
    **dict.fromkeys(("gpus", "num_gpus", "n_gpus"), "trainer.devices"),
    **dict.fromkeys(("checkpoint", "ckpt", "resume_from"), "ckpt_path"),
    **dict.fromkeys(("train_batch_size", "bs"), "data.batch_size"),
    **dict.fromkeys(("workers", "n_workers"), "data.num_workers"),
    **dict.fromkeys(("device", "gpu"), "trainer.accelerator"),
    **dict.fromkeys(("max_norm", "clip", "grad_clip"), "trainer.gradient_clip_val"),
    **dict.fromkeys(("output_dir", "out_dir"), "run_dir"),
    "nonlinearity": "model.activation",
}
"""What other programs call a key of this one."""
MANY_NAMES = 13
"""A longer list of names helps nobody."""


def nearest_key(key: str, cfg: DictConfig) -> str:
    """Suggest a key: what it is called elsewhere, the most alike in the same place, or the most alike at all."""
    parent, _, name = key.rpartition(".")
    is_hydras = key.startswith("hydra")
    keys = [other for other in _keys(cfg) if other not in (key, "hydra")]
    everywhere = [other for other in keys if other.startswith("hydra.") == is_hydras]
    shows_all = f"; --cfg {'hydra' if is_hydras else 'job'} shows all"
    familiar = FAMILIAR.get(name.lower())
    if familiar in everywhere:
        return f"; did you mean {familiar}?"
    node = OmegaConf.select(cfg, parent, throw_on_missing=False) if parent else None
    if isinstance(node, DictConfig):
        return nearest(name, [str(sibling) for sibling in node], prefix=f"{parent}.") or shows_all
    same_name = [other for other in everywhere if other.rpartition(".")[2] == name]
    by_name = {other.rpartition(".")[2]: other for other in reversed(everywhere)}
    whole = get_close_matches(key, everywhere, n=1, cutoff=0.75)
    alike = [by_name[other] for other in get_close_matches(name, by_name, n=1)] if "." not in key else []
    found = (whole or same_name or alike)[:1]
    return f"; did you mean {found[0]}?" if found else shows_all


def _keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    for name in cfg:
        yield f"{prefix}{name!s}"
        node = cfg._get_node(name)
        if isinstance(node, DictConfig) and not (node._is_none() or node._is_missing() or node._is_interpolation()):
            yield from _keys(node, f"{prefix}{name!s}.")


def nearest(name: str, names: Sequence[str], prefix: str = "") -> str:
    """Suggest the most alike of some names, and list them all if they are few."""
    shown = [other for other in names if other != name and not other.startswith("_")]
    alike = get_close_matches(name, shown, n=1)
    return (f"; did you mean {prefix}{alike[0]}?" if alike else "") + (
        f" (there are {', '.join(sorted(shown))})" if 0 < len(shown) <= MANY_NAMES else ""
    )


def shown(value: Any) -> str:
    """Write a value as one would on the command line."""
    if isinstance(value, list | ListConfig):
        return f"[{','.join(map(shown, value))}]"
    if isinstance(value, DictConfig):
        value = OmegaConf.to_container(value)
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{shown(item)}' for key, item in value.items())}}}"
    if isinstance(value, float):
        return f"{value:g}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
