"""Serve a page to try checkpoints on; needs the extra [demo]."""

import argparse
import signal
import sys
from functools import partial
from importlib.util import find_spec

from fashion_mlp.cli.arguments import DATA_HELP, WORDS, add_shared, positive, split_words
from fashion_mlp.cli.output import echo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fashion-mlp demo`."""
    add_shared(parser, "checkpoint", "--device")
    parser.add_argument("words", **WORDS, metavar="CKPT | data", help=f"more checkpoints; {DATA_HELP}")
    host_help = "address or name to listen on; by default 127.0.0.1, this machine only"
    parser.add_argument("--host", default="127.0.0.1", help=host_help)
    port = partial(positive, limit=65535)
    parser.add_argument("--port", type=port, default=0, metavar="N", help="by default a free port")


def run(arguments: argparse.Namespace) -> None:
    """Run `fashion-mlp demo` until Ctrl-C."""
    from fashion_mlp.inference.load import load_ensemble
    from fashion_mlp.inference.test_data import load_test_data
    from fashion_mlp.runtime.errors import UserError

    paths, overrides = split_words(arguments)
    classifiers = {str(path): load_ensemble([path], arguments.device) for path in paths}
    if find_spec("gradio") is None:
        raise UserError("demo: package missing. Type python -m pip install -e '.[demo]', with Python 3.11 or later")
    from fashion_mlp.demo.server import accepted_hosts, listen, make_server  # imports gradio, which takes seconds

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # removes the temporary directory
    with listen(arguments.host, arguments.port) as socket:
        address, port = socket.getsockname()[:2]
        test_data = None
        try:
            test_data = load_test_data(classifiers[str(paths[0])], overrides, download=False)
        except (UserError, OSError) as error:
            echo(f"no test images to show: {error}")
        with make_server(classifiers, test_data, accepted_hosts(arguments.host, address)) as server:
            echo(f"http://{f'[{address}]' if ':' in address else address}:{port}  (Ctrl-C to stop)")
            server.run([socket])
