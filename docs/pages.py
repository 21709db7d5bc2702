"""Pages made when the site is built: those of the top folder, and the settings."""

from __future__ import annotations

from dataclasses import Field, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from edge_reloc import Settings
from edge_reloc.command_line.arguments import group_order
from edge_reloc.methods import METHODS
from edge_reloc.settings import WORDS, Rule, default_of, kind_of

PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by mkdocs: adds the pages."""
    root = Path(config.docs_dir).parent
    for name, page in PAGES.items():
        text = (root / name).read_text(encoding="utf-8").replace("](docs/", "](")
        for other, target in PAGES.items():
            text = text.replace(f"]({other}", f"]({target}")
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "reference/settings.md", content=settings_page()))
    return files


def on_page_markdown(markdown: str, **of_the_page: Any) -> str:
    """Called by mkdocs: links that leave docs/ lead to the pages of the top folder."""
    for name, target in PAGES.items():
        markdown = markdown.replace(f"../{name}", target)
    return markdown


def settings_page() -> str:
    """Every field of `Settings`, in the order of the command line's help."""
    lines = [
        "# Settings",
        "",
        "The fields of `edge_reloc.Settings`, under these names keywords of `edge_reloc.open` "
        "and keys of a settings file (`--settings settings.toml`, flat). As an option of the "
        "programs `match_block` is `--match-block`; one that is true or false has a counterpart, "
        "as `--no-tracking`. `trust_engines` and `engine_host_code` are not taken from a file.",
    ]
    for _, entries in groupby(sorted(fields(Settings), key=group_order), key=group_order):
        group = list(entries)
        lines += [
            "",
            f"## {_title(group[0])}",
            "",
            "| name | values | default | |",
            "|---" * 4 + "|",
        ]
        lines += [_row(entry) for entry in group]
    return "\n".join(lines) + "\n"


def _title(entry: Field[Any]) -> str:
    group = entry.metadata["rule"].group
    if group in METHODS:
        return f"Method {group}"
    return {"gate": "When a pose is believed", "machine": "The machine"}.get(group, "Localising")


def _row(entry: Field[Any]) -> str:
    rule: Rule = entry.metadata["rule"]
    kind, optional = kind_of(entry)
    default = rule.unset if optional else f"`{default_of(entry)!r}`"
    expected = rule.expected()
    values = expected if rule.choices else ", ".join(filter(None, (WORDS[kind], expected)))
    return f"| `{entry.name}` | {values} | {default} | {rule.help} |"
