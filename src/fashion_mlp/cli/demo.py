"""`fashion-mlp demo`."""

import argparse
import signal
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from fashion_mlp.checkpoint.load import load_classifier
from fashion_mlp.classifier import Classifier
from fashion_mlp.cli.common import echo, is_about_data, load_test_data, resolve_device
from fashion_mlp.data import ImageDataModule
from fashion_mlp.runtime.errors import UserError


def run(arguments: argparse.Namespace) -> int:
    """Serve a page to try checkpoints on, until Ctrl-C."""
    if find_spec("gradio") is None:
        raise UserError("demo: needs python -m pip install -e '.[demo]'")
    from fashion_mlp.demo.server import accepted_hosts, listen, server

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that nothing is left behind
    device = resolve_device(arguments.device)
    paths = [Path(word) for word in arguments.words if not is_about_data(word)]
    overrides = [word for word in arguments.words if is_about_data(word)]
    if not paths:
        raise UserError("CKPT: name a checkpoint to try")
    classifiers = dict(zip(names_of(paths), (load_classifier(path, device) for path in paths), strict=True))
    with listen(arguments.host, arguments.port) as socket:
        address, port = socket.getsockname()[:2]
        hosts = accepted_hosts(arguments.host, address)
        with server(classifiers, _at_hand(classifiers, overrides), hosts) as web:
            echo(f"http://{f'[{address}]' if ':' in address else address}:{port}  (Ctrl-C ends it)")
            web.run([socket])
    return 0


def names_of(paths: list[Path]) -> list[str]:
    """Return a name for each checkpoint, no longer than it takes to tell it from the others.

    That is the end of its path without `checkpoints` and the suffix, such as `12-30-00/best`.
    """
    parts = [[part for part in path.resolve().with_suffix("").parts if part != "checkpoints"] for path in paths]
    for length in range(2, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    raise UserError("CKPT: the same checkpoint is named twice")


def _at_hand(classifiers: Mapping[str, Classifier], overrides: list[str]) -> dict[str, ImageDataModule]:
    """Return the test data of those classifiers whose data lie here; say so of the others."""
    found = {}
    for name, classifier in classifiers.items():
        try:
            found[name] = load_test_data(classifier, overrides, fetch=False)
        except (UserError, OSError) as error:
            echo(f"{name}: no test images to show ({error})")
    return found
