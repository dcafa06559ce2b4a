"""`metrics.json`, the result of a run."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fashion_mlp.runtime.atomic import atomic_write

METRICS_FILE = "metrics.json"


def read_result(run_dir: Path) -> dict[str, Any] | None:
    """Return the metrics of a complete run; None if `metrics.json` is missing, damaged or of an incomplete run."""
    metrics = read_json(run_dir / METRICS_FILE)
    return metrics if metrics.get("complete") is True and str(metrics.get("objective")) in metrics else None


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, with NaN for a metric that is null; empty if the file is missing or damaged."""
    try:
        items = json.loads(path.read_text()).items()
    except (OSError, ValueError, RecursionError, AttributeError):  # the last one if it is not an object
        return {}
    # Only metrics have a slash in their names. JSON has neither NaN nor infinity.
    return {key: math.nan if value is None and "/" in key else value for key, value in items}


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write `metrics.json` atomically."""
    with atomic_write(path) as file:
        rounded = {key: round(value, 6) if isinstance(value, float) else value for key, value in metrics.items()}
        file.write((to_json(rounded) + "\n").encode())


def to_json(values: Any) -> str:
    """Return plain values as JSON; NaN and infinity, which JSON lacks, become null."""
    return json.dumps(json.loads(json.dumps(values), parse_constant=lambda _: None), indent=2)
