"""Recordings read back: nothing that a file says is believed before it is checked."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..arrays import U8
from ..bundle.fields import parse_json
from ..errors import MissingPackageError, SourceError, missing_package, one_line
from ..files import open_file
from ..geometry.camera import Camera
from ..messages.estimate import ESTIMATE
from ..messages.foxglove import IMAGE
from ..reasons import Fault, Reason
from ..recording.channels import FORMAT, FRAME, SESSION, VERSION
from ..structs import Frame
from .photo_size import MAX_PIXELS, size_told

MAGIC = b"\x89MCAP0\r\n"
#: of a message's JSON, seventy bytes each once parsed; a filter's history has 30,000
MOST_ITEMS = 1 << 19
CHUNK_BYTES = 1 << 29  # more than one image and what lies with it; ours are about 1 MB


@dataclass(frozen=True, kw_only=True)
class MapIdentity:
    """Which map a recording was made in."""

    name: str
    path: Path
    #: of its manifest.json, which lists the sha256 of every other file
    manifest_sha256: str


@dataclass(frozen=True, kw_only=True)
class RecordedSession:
    """What was running."""

    map: MapIdentity
    camera: Camera
    settings: dict[str, Any]
    #: whether a state machine watched over the poses, and whether the filter's were given out
    states: bool
    filtered: bool
    #: what the poses may hang on, and why the recording was made, for people
    machine: dict[str, Any]
    reason: str


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no one answer
class RecordedFrame:
    """A frame, and what the localiser remembered before it, None: what it remembers anyway."""

    frame: Frame
    recalled: dict[str, Any] | None


class Recording:
    """A file of `edge-reloc run --record`. Raises SourceError, MissingPackageError."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._check_ends()
        with self._told():
            topic, message = next(self._messages(), ("", {}))
            if topic != SESSION.topic:
                raise SourceError(
                    f"{self.path}: an MCAP file, and not one of 'edge-reloc run --record': "
                    f"it does not begin with {SESSION.topic}"
                )
            self.session = _session(message)

    def frames(self) -> Iterator[RecordedFrame]:
        """One after the other, as they were localised."""
        with self._told():
            told: dict[str, Any] | None = None
            for topic, message in self._messages():
                if topic == FRAME.topic:
                    told = message
                elif topic == IMAGE.topic and told is not None:
                    yield RecordedFrame(frame=_frame(told, message), recalled=told["recalled"])
                    told = None

    def estimates(self) -> Iterator[dict[str, Any]]:
        """What became of each frame when it was recorded."""
        with self._told():
            for topic, message in self._messages():
                if topic == ESTIMATE.topic:
                    yield message

    def _check_ends(self) -> None:
        """A file that is whole begins and ends with the same eight bytes."""
        try:
            with open_file(self.path) as stream:
                begins = stream.read(len(MAGIC))
                stream.seek(0, 2)
                stream.seek(max(stream.tell() - len(MAGIC), 0))
                ends = stream.read(len(MAGIC))
        except OSError as error:
            raise SourceError(f"{self.path}: cannot be read ({error.strerror})") from None
        if begins != MAGIC:
            raise SourceError(f"{self.path}: not a recording; expected an MCAP file")
        if ends != MAGIC:
            raise SourceError(
                f"{self.path}: the recording is cut off; copy it again, or take what is left of "
                f"it with 'mcap recover'"
            )

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever a damaged file brings about is one line."""
        try:
            yield
        except (SourceError, MissingPackageError, GeneratorExit):
            raise
        except OSError as error:
            raise SourceError(f"{self.path}: cannot be read ({error.strerror})") from error
        except (KeyError, IndexError) as error:
            raise SourceError(f"{self.path}: a damaged recording (no {error})") from error
        except Exception as error:  # its parsers raise unrelated classes
            text = one_line(f"{type(error).__name__} {error}".strip())
            raise SourceError(f"{self.path}: a damaged recording ({text})") from error

    def _messages(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(topic, message) of JSON channels, in the order of the file."""
        try:
            from mcap.records import Channel, Message
        except ImportError:
            raise missing_package("mcap", "a recording (MCAP)", "recording") from None
        topics: dict[int, str] = {}
        with open_file(self.path) as stream:
            for record in _records(stream):
                if isinstance(record, Channel):
                    topics[record.id] = record.topic if record.message_encoding == "json" else ""
                elif isinstance(record, Message) and topics.get(record.channel_id):
                    # Names of files may hold bytes that are no text: Python's half characters.
                    message = parse_json(record.data, MOST_ITEMS)
                    if not isinstance(message, dict):
                        raise ValueError(f"{topics[record.channel_id]} holds no objects")
                    yield topics[record.channel_id], message


def _records(stream: Any) -> Iterator[Any]:
    """Of an MCAP file, those in chunks included; of a chunk no more bytes than it may hold."""
    import zstandard
    from mcap.records import Chunk
    from mcap.stream_reader import StreamReader, breakup_chunk

    for record in StreamReader(stream, emit_chunks=True, record_size_limit=CHUNK_BYTES).records:
        if not isinstance(record, Chunk):
            yield record
            continue
        size = record.uncompressed_size
        if record.compression == "zstd":
            told = zstandard.get_frame_parameters(record.data).content_size
        elif record.compression == "":
            told = len(record.data)
        else:
            raise ValueError(f"chunks compressed by {record.compression!r}; expected zstd")
        if told != size or size > CHUNK_BYTES:
            raise ValueError(f"a chunk of {size} bytes, {told} by its data")
        yield from breakup_chunk(record, validate_crc=True)


def _session(message: dict[str, Any]) -> RecordedSession:
    if message["format"] != FORMAT or not isinstance(message["version"], int):
        raise ValueError(f"format {message['format']!r}, expected '{FORMAT}'")
    if message["version"] > VERSION:
        raise ValueError(
            f"version {message['version']}, newer than {VERSION}, which this program reads; "
            f"replay it with the edge_reloc that made it"
        )
    of_map = message["map"]
    return RecordedSession(
        map=MapIdentity(
            name=str(of_map["name"]),
            path=Path(str(of_map["path"])),
            manifest_sha256=str(of_map["manifest_sha256"]),
        ),
        camera=Camera.from_dict(message["camera"]),
        settings=dict(message["settings"]),
        states=bool(message["states"]),
        filtered=bool(message["filtered"]),
        machine=dict(message["machine"]),
        reason=str(message["reason"]),
    )


def _frame(told: dict[str, Any], image: dict[str, Any]) -> Frame:
    camera, fault, turns = told["camera"], told["fault"], told["quarter_turns"]
    received_ns, down = told["received_ns"], told["down"]
    odom_from_cam = told.get("odom_from_cam")  # older ones have none
    return Frame(
        image=_pixels(image, tuple(told["shape"])),
        t_ns=int(told["t_ns"]),
        received_ns=None if received_ns is None else int(received_ns),
        camera=None if camera is None else Camera.from_dict(camera),
        index=int(told["index"]),
        name=str(told["name"]),
        quarter_turns=None if turns is None else int(turns) % 4,
        upright_turns=int(told["upright_turns"]) % 4,
        down=None if down is None else np.array(down, np.float64).reshape(3),
        odom_from_cam=None
        if odom_from_cam is None
        else np.array(odom_from_cam, np.float64).reshape(4, 4),
        fault=None if fault is None else _fault(fault),
    )


def _pixels(image: dict[str, Any], shape: tuple[int, ...]) -> U8:
    """(H,W) or (H,W,3), of the size that both the frame and the PNG file tell."""
    png = base64.b64decode(image["data"], validate=True)
    size = size_told(png)
    told = (size.height, size.width) if size else None
    if told != shape[:2] or size is None or size.pixels > MAX_PIXELS:
        raise ValueError(f"an image of {size} pixels in a frame of shape {list(shape)}")
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint8 or pixels.shape != shape:
        raise ValueError("an image that cannot be decoded")
    return np.asarray(pixels, np.uint8)


def _fault(fault: dict[str, Any]) -> Fault:
    return Fault(
        reason=Reason(fault["reason"]), text=str(fault["text"]), since_ns=int(fault["since_ns"])
    )
