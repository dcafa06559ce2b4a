"""The configuration of a run. Importing these modules does not import torch, so that a mistake is reported at once.

- `command_line`: flags, quoting, and the directory `conf/`.
- `overrides`: the overrides of a command line, and the options that they choose.
- `check_command_line`: check a command line, with each configuration that it composes.
- `check_config`: check one composed configuration.
- `schema`: check a section on its own.
- `check_across_sections`: check values of different sections against each other.
- `monitoring`: the metrics that compare checkpoints, epochs and runs.
- `messages`: fragments of error messages.
- `records`: what a run or sweep records in its directory.
- `resume`: resume from the record.
- `editor_schemas`: JSON Schemas of the files in `conf/`.
"""
