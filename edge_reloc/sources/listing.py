"""Which photos: those of a folder, a glob pattern or a list, for mapping and running alike."""

from __future__ import annotations

import codecs
import glob
import logging
import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import SourceError
from ..files import read_small

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
HIDDEN = (".", "__MACOSX")
log = logging.getLogger(__name__)

LIST_BYTES = 1 << 26
NAMED = 3  # files that a line about many names


class Kind(NamedTuple):
    """Pictures of a kind that is not read here."""

    name: str
    noun: str
    cure: str  #: with {them}
    suffixes: tuple[str, ...]

    def refusal(self, count: int) -> str:
        """Why not, and what to do, said of `count` files."""
        them = "it" if count == 1 else "them"
        return f"{self.name}, which is not read here: {self.cure.format(them=them)}"


KINDS_NOT_READ = (
    Kind("HEIC", "photo", "convert {them} to JPEG", (".heic", ".heif", ".hif")),
    Kind("AVIF", "photo", "convert {them} to JPEG", (".avif",)),
    Kind(
        "camera raw",
        "photo",
        "develop {them} to JPEG",
        (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw", ".raw"),
    ),
    Kind("GIF", "picture", "convert {them} to PNG", (".gif",)),
    Kind(
        "video",
        "file",
        "take photos out of {them} (ffmpeg -i VIDEO -r 2 photo_%05d.jpg), or name "
        "a video as a --source of its own",
        (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".3gp", ".mts", ".m2ts", ".wmv", ".mpg"),
    ),
)
KINDS_BY_NAME = {kind.name: kind for kind in KINDS_NOT_READ}
_KIND_OF_SUFFIX = {suffix: kind for kind in KINDS_NOT_READ for suffix in kind.suffixes}


class Listing(NamedTuple):
    """Names with '/' between folders, in natural order."""

    photos: list[str]
    others: list[str]  #: of kinds that are not read here


def kind_not_read(name: str) -> Kind | None:
    """The kind of a file that is a picture and not read here, by its suffix."""
    return _KIND_OF_SUFFIX.get(_suffix(name))


def count_kinds(others: Iterable[str]) -> list[str]:
    """A line for each kind among files that are not read here: how many, the cure, which."""
    lines = []
    others = list(others)
    for kind in KINDS_NOT_READ:
        names = [name for name in others if kind_not_read(name) is kind]
        if names:
            count = len(names)
            shown = ", ".join(names[:NAMED]) + (" ..." if count > NAMED else "")
            verb = f"{kind.noun} is" if count == 1 else f"{kind.noun}s are"
            lines.append(f"{count} {verb} {kind.refusal(count)}; found {shown}")
    return lines


def list_folder(folder: Path, *, deep: bool = False) -> Listing:
    """The photos in a folder; deep: and in the folders below it.

    Hidden files and folders are left alone, such as the "._IMG_1.jpg" and the "__MACOSX" that a
    Mac leaves. A link that leads nowhere is listed: whoever reads it says so.
    Raises SourceError when there is no photo.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder of photos")
    found: list[str] = []
    unread: list[OSError] = []
    for where, folders, files in os.walk(folder, onerror=unread.append):
        folders[:] = [name for name in folders if deep and not name.startswith(HIDDEN)]
        below = os.path.relpath(where, folder).replace(os.sep, "/")
        paths = (posixpath.normpath(posixpath.join(below, name)) for name in files)
        found += [path for path in paths if not posixpath.basename(path).startswith(".")]
    for error in unread:
        if error.filename == os.fspath(folder):
            raise SourceError(f"{folder}: cannot be read ({error.strerror})")
        log.warning("%s: cannot be read (%s), left out", error.filename, error.strerror)
    listing = _listing(found)
    if not listing.photos:
        raise SourceError(
            f"{folder}: no photos in this folder (looked for {_suffixes()}){_instead(listing)}"
        )
    return listing


class GlobListing(NamedTuple):
    """The folder before a pattern's first wildcard, and what matches below it."""

    base: Path
    listing: Listing


def list_glob(pattern: str) -> GlobListing:
    """The photos that match a glob pattern; SourceError for none."""
    parts = Path(pattern).parts
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    base = Path(*parts[:fixed])
    if "**" in parts:  # not by glob, which follows links in circles until none is left
        below = [*parts[fixed:], *(["*"] if parts[-1] == "**" else [])]
        deep = base.glob(str(Path(*below)))
        found = [p for p in deep if not _is_hidden(p.relative_to(base))]
    else:
        found = [Path(p) for p in glob.glob(pattern)]
    listing = _listing(p.relative_to(base).as_posix() for p in found if not p.is_dir())
    if not listing.photos:
        raise SourceError(
            f"{pattern}: no photo matches this pattern (quote it so that the shell leaves it "
            f"alone){_instead(listing)}"
        )
    return GlobListing(base, listing)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def names_in_list(path: Path, base: Path) -> list[str]:
    """Names in a text file, one a line in its order, relative to the folder `base`.

    UTF-8, or UTF-16 with its mark, with any line ends. Empty lines and those that begin with
    '#' count for nothing. A name that is not there as it is written is also looked for with
    '/' for '\\' and with its accents composed or apart. SourceError for no list of names.
    """
    try:
        text = _text(read_small(path, LIST_BYTES))
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SourceError(
            f"{path}: not a text file with one photo name a line (save it as UTF-8)"
        ) from None
    # Not splitlines, which would also split at what some names hold, such as a vertical tab.
    lines = [line.strip() for line in re.split(r"\r\n|\n|\r", text)]
    names = [_as_on_disk(line, base) for line in lines if line and not line.startswith("#")]
    if not names:
        raise SourceError(f"{path}: the list names no photo; expected one name a line")
    return names


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key under which frame9 comes before frame10."""
    parts = re.split(r"(\d+)", name)
    return [(int(p), "") if i % 2 else (-1, p.lower()) for i, p in enumerate(parts)] + [(-1, name)]


def _text(data: bytes) -> str:
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if marked else "utf-8-sig")


def _as_on_disk(name: str, base: Path) -> str:
    plain = posixpath.normpath(name.replace("\\", "/"))
    spellings = [unicodedata.normalize(form, plain) for form in ("NFC", "NFD")]
    for spelling in (posixpath.normpath(name), plain, *spellings):
        if os.path.isfile(os.path.join(base, spelling)):
            return spelling
    return plain


def _listing(names: Iterable[str]) -> Listing:
    ordered = sorted(names, key=natural_key)
    photos = [name for name in ordered if _suffix(name) in PHOTO_SUFFIXES]
    return Listing(photos, [name for name in ordered if kind_not_read(name)])


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _suffixes() -> str:
    return " ".join(sorted(PHOTO_SUFFIXES))


def _instead(listing: Listing) -> str:
    """What lies there instead of photos, to end an error with."""
    return "".join(f"; {line}" for line in count_kinds(listing.others))
