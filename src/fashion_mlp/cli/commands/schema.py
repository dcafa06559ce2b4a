"""Write the JSON Schemas of conf/, with which editors complete and check it, to .vscode/schemas/."""

import argparse
import json

from fashion_mlp.cli.output import echo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fashion-mlp schema`, which has none."""


def run(arguments: argparse.Namespace) -> None:
    """Run `fashion-mlp schema`."""
    from fashion_mlp.config.command_line import CONF
    from fashion_mlp.config.editor_schemas import editor_schemas

    # Mapped to the files of conf/ by .vscode/settings.json and .idea/jsonSchemas.xml.
    directory = CONF.parent / ".vscode/schemas"
    directory.mkdir(parents=True, exist_ok=True)
    for name, schema in editor_schemas().items():
        (directory / f"{name}.json").write_text(json.dumps(schema, indent=1) + "\n")
    echo(f"saved {directory}")
