"""The public API as text: what a change of it would break for others.

`python tests/golden/api.py` prints what differs, `--write` makes the file anew.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import enum
import functools
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import edge_reloc

FILE = Path(__file__).with_suffix(".txt")


def public_api() -> str:
    """Every name of `__all__`, with all that belongs to it, one line each."""
    return "".join(f"{line}\n" for name in sorted(edge_reloc.__all__) for line in _lines(name))


def differences() -> list[str]:
    """Lines that came (+) or went (-) since the file was written."""
    before, now = FILE.read_text().splitlines(), public_api().splitlines()
    return [line for line in difflib.ndiff(before, now) if line[0] in "+-"]


def _lines(name: str) -> Iterator[str]:
    value = getattr(edge_reloc, name)
    if not inspect.isclass(value):
        yield name + (_signature(value) if callable(value) else f": {type(value).__name__}")
        return
    yield f"class {name}({', '.join(base.__name__ for base in value.__bases__)})"
    if issubclass(value, enum.Enum):
        yield from (f"{name}.{member.name} = {member.value!r}" for member in value)
        return
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    for field in fields:
        if not field.name.startswith("_"):
            yield f"{name}.{field.name}: {field.type}{_default(field)}"
    known = {field.name for field in fields}
    for member, content in sorted(vars(value).items()):
        if member.startswith("_") or member in known:
            continue
        if isinstance(content, property | functools.cached_property):
            getter = content.fget if isinstance(content, property) else content.func
            yield f"{name}.{member} -> {inspect.signature(getter).return_annotation}"
        elif callable(content) or isinstance(content, classmethod | staticmethod):
            yield f"{name}.{member}{_signature(getattr(value, member))}"


def _signature(function: Any) -> str:
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(function)))


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f" = {field.default!r}"
    return "" if field.default_factory is dataclasses.MISSING else " = ..."


def main() -> int:
    """0 when nothing differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="make the file anew")
    if parser.parse_args().write:
        FILE.write_text(public_api())
    changed = differences()
    print("\n".join(changed))
    return int(bool(changed))


if __name__ == "__main__":
    sys.exit(main())
