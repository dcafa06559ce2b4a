"""What cannot be read as `key=value`, and what was probably meant: most of it is the shell's doing."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException

from fashion_mlp.config import TrainConfig

LOOK_ALIKES = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
        **dict.fromkeys("\u2018\u2019\u201a\u201c\u201d\u201e\u2032\u2033\xab\xbb", ""),
        "\u066b": ".",
    }
)
"""What word processors and web pages make of hyphens, quotes and points."""
FUNCTION = re.compile(r"^[^=]*=\w+\(.*\)$")
RUN_KEYS = {field.name for field in fields(TrainConfig)}
MANY_PIECES = 8


def read(
    texts: Sequence[str], loader: ConfigLoader, options: Callable[[], Mapping[str, str]]
) -> tuple[list[Override], list[str]]:
    """Return the overrides among some arguments, and a line for each other argument.

    Args:
        texts: the arguments, without flags.
        loader: finds what `glob(*)` stands for.
        options: returns the config group of each option.
    """
    parser = OverridesParser.create(loader)
    overrides, problems = [], []
    rest = list(texts)
    before = ""
    while rest:
        joined, count = _joined(parser, rest)
        if joined:
            problems.append(f"{' '.join(rest[:count])}: a shell divides at spaces; write {_quoted(joined)}")
        elif (override := _parsed(parser, rest[0])) is None:
            shown = rest[0] if rest[0].strip() else repr(rest[0])
            problems.append(f"{shown}: {_reason(parser, rest[0], before, options())}")
        else:
            overrides.append(override)
        before, rest = rest[count - 1], rest[count:]
    return overrides, problems


def _parsed(parser: OverridesParser, text: str) -> Override | None:
    """Return an override that can be read and used, or None."""
    try:
        override = parser.parse_override(text)
        if isinstance(override.value(), Glob):
            list(override.sweep_iterator())  # of a key, and not of a group, it is nothing
    except (HydraException, ValueError, RecursionError):  # of Python's own: numbers too long, brackets too deep
        return None
    return override if override.key_or_group else None


def _joined(parser: OverridesParser, texts: Sequence[str]) -> tuple[str, int]:
    """Return what the first arguments are without spaces, and how many they are; nothing and 1 if they are not one."""
    first, second = texts[0], "".join(texts[1:2])
    is_cut = first.endswith("=") or first.count("[") > first.count("]") or second.startswith("=")
    if not is_cut or not second or ("=" in second and not second.startswith("=")):
        return "", 1
    whole = first
    for count, piece in enumerate(texts[1:MANY_PIECES], start=2):
        is_item = whole[-1].isalnum() and piece[0].isalnum() if whole and piece else False
        whole += f",{piece}" if is_item and "[" in whole else piece
        if not whole.endswith("=") and _parsed(parser, whole) is not None:
            return whole, count
    return "", 1


def _reason(parser: OverridesParser, text: str, before: str, options: Mapping[str, str]) -> str:
    """Return why an argument cannot be read, and what to write instead."""
    if not text.strip():
        return "an empty argument; was a variable of the shell empty?"
    for repaired in _repairs(text):
        if repaired.startswith("-") and "=" not in repaired:
            return f"its dash is no hyphen; did you mean {repaired}?"
        if repaired != text and _parsed(parser, repaired) is not None:
            return f"cannot be read; did you mean {_quoted(repaired)}?"
    parts = re.split(r"[\s,;]+", text)
    if len(parts) > 1 and all("=" in part and _parsed(parser, part) is not None for part in parts):
        return f"is one argument; quote each by itself, or none: {' '.join(parts)}"
    if text.startswith("="):
        return "lacks its key; write key=value"
    if text.count("'") % 2 or text.count('"') % 2:
        return "has a quote that is not closed"
    if "=" not in text:
        return _no_value(text, before, options)
    if FUNCTION.match(text):
        return _complaint(parser, text)
    return "cannot be read; write key=value, quote the whole for the shell, lists as [a,b]"


def _repairs(text: str) -> Iterator[str]:
    letters = unicodedata.normalize("NFKD", text.translate(LOOK_ALIKES))  # those with accents and in full width, too
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    yield plain
    bare = plain.strip("'\" ")
    yield bare
    if "'" not in bare and '"' not in bare:
        yield bare.rstrip(",; ").replace(",]", "]")
        yield bare.replace("==", "=")
        yield bare.replace(";", ",")
        if "=" in bare and "(" in bare and not FUNCTION.match(bare):
            yield bare.replace("(", "[").replace(")", "]").replace(" ", "")
        if "=" not in bare and not bare.startswith("-"):
            yield re.sub(r"^([\w.]+)\s*:\s*", r"\1=", bare)
        key, has_value, value = bare.partition("=")
        if has_value:
            yield f"{key.strip()}={value.strip()}"
        if value.count("[") > value.count("]"):
            yield f"{bare.rstrip(',')}]"
        if value.count("]") > value.count("["):
            yield f"{key}=[{value}"
        if "=" in value and "/" in value:  # a path, such as epoch=1-step=20.ckpt
            yield f"{key}='{value}'"


def _no_value(text: str, before: str, options: Mapping[str, str]) -> str:
    """Return what a word without `=` may be: an option, a flag, or the end of the argument before it."""
    name = text.removesuffix(".yaml").rpartition("/")[2]
    if name in options:
        return f"lacks its key; did you mean {options[name]}={name}?"
    if name in ("help", "version", "multirun", "cfg"):
        return f"lacks its dashes; did you mean --{name}?"
    if name in options.values() or name in RUN_KEYS or not re.search(r"=[^=]*$", before):
        is_key = re.fullmatch(r"[\w./]+", text)
        return f"lacks its value; write {text}=..." if is_key else "cannot be read; write key=value"
    return f"no key=value; if it belongs to {before}, quote the whole: '{before} {text}'"


def _complaint(parser: OverridesParser, text: str) -> str:
    """Return what Hydra says of a function's arguments, in one line."""
    try:
        override = parser.parse_override(text)
        list(override.sweep_iterator())
    except (HydraException, ValueError) as error:
        told = " ".join(str(error).split())
        _, _, reason = told.partition(" while evaluating ")
        return f"cannot be read: {reason or told}".replace(" Available: ", "; there are ")
    return "cannot be read"


def _quoted(text: str) -> str:
    """Write an argument as one types it: in quotes where the shell would divide or change it."""
    if "'" in text:
        return f'"{text}"'
    return f"'{text}'" if re.search(r"[\s()$*?;&|<>]", text) else text
