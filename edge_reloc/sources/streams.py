"""Network streams by PyAV: every frame's own presentation time, grey as it was decoded."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..errors import SourceError
from .capture import Shot, name_of
from .decoding import av_errors, decoder_about, pixels_of, presented_ns, refuse_giants, turns_of
from .stream_clock import StreamClock

OPEN_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 3.0
#: what FFmpeg waits for is the picture, and not that it knows every detail of the stream
OPTIONS = {
    "analyzeduration": "500000",
    "probesize": "500000",
    "fpsprobesize": "0",
    "rtsp_transport": "tcp",
}
#: formats of pictures alone; the times that FFmpeg gives them are counted, not measured
TIMELESS = {"mjpeg", "mpjpeg", "h264", "hevc"}
LOCAL_PROTOCOLS = "file,rtp,udp"
PAYLOAD = 96
CODECS = {"h264": "H264", "h265": "H265"}


class AvStream:
    """A stream that answers in time. grey: (H,W), otherwise (H,W,3) BGR."""

    def __init__(self, url: str, *, grey: bool) -> None:
        import av

        self._name, self._grey, self._clock = name_of(url), grey, StreamClock()
        self._lost = 0
        self._container: Any = None
        described = session_description(url) if url.startswith("rtp://") else None
        try:
            self._container = _open(av, url, described)
            self._stream: Any = self._container.streams.video[0]
        except av_errors() as error:
            self.release()
            raise SourceError(
                f"{self._name}: no video stream answered ({_told(error, OPEN_TIMEOUT_S)}); check "
                f"that the address plays elsewhere and that this machine can reach it"
            ) from None
        try:
            refuse_giants(self._stream, self._name)
        except SourceError:
            self.release()
            raise
        self._stream.thread_type = "SLICE"  # threads of whole frames hold frames back
        self._stream.codec_context.flags |= av.codec.context.Flags.low_delay
        self._frames = self._decoded()
        self.about = f"{decoder_about(self._stream)}, decoded by PyAV"
        self._timeless = self._container.format.name in TIMELESS
        self.clock = (
            "arrival (the stream tells none)"
            if self._timeless
            else "the stream's own, set to ours by its quickest frame"
        )

    def read(self) -> Shot | None:
        """The next frame; SourceError when none comes in time."""
        frame = next(self._frames, None)
        if frame is None:
            return None
        received_ns = time.monotonic_ns()
        lost, self._lost = self._lost, 0
        presented = None if self._timeless else presented_ns(frame)
        return Shot(
            image=pixels_of(frame, grey=self._grey),
            stamp_ns=self._clock.stamp(presented, received_ns),
            received_ns=received_ns,
            lost=lost,
            upright_turns=turns_of(frame),
        )

    def _decoded(self) -> Iterator[Any]:
        """Whole frames; what is damaged, as before the first key frame, counts as lost."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av_errors() as error:
                raise SourceError(f"{self._name}: {_told(error, READ_TIMEOUT_S)}") from None
            if packet is None:
                return
            try:
                frames = packet.decode()
            except av_errors():
                self._lost += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self._lost += 1
                else:
                    yield frame

    def release(self) -> None:
        """Hang up."""
        if self._container is not None:
            self._container.close()
            self._container = None


def _open(av: Any, url: str, described: str | None) -> Any:
    timeout = (OPEN_TIMEOUT_S, READ_TIMEOUT_S)
    if described is None:
        return av.open(url, options=OPTIONS, timeout=timeout)
    with tempfile.TemporaryDirectory() as folder:  # FFmpeg reads descriptions from files alone
        path = os.path.join(folder, "session.sdp")
        with open(path, "w", encoding="ascii") as stream:
            stream.write(described)
        options = {**OPTIONS, "protocol_whitelist": LOCAL_PROTOCOLS}
        return av.open(path, format="sdp", options=options, timeout=timeout)


def session_description(url: str) -> str:
    """What arrives at rtp://[GROUP@]:PORT[?codec=h265], which RTP by itself does not say (SDP)."""
    parts = urlsplit(url)
    codec = parse_qs(parts.query).get("codec", ["h264"])[0].lower()
    host = parts.hostname or "0.0.0.0"
    port = re.search(r":(\d{1,5})$", parts.netloc)
    if codec not in CODECS or port is None or not re.fullmatch(r"[0-9a-zA-Z.:-]+", host):
        raise SourceError(
            f"{name_of(url)}: expected rtp://@:PORT or rtp://ADDRESS:PORT of this machine, and "
            f"?codec= with one of {', '.join(CODECS)} (h264 when it is left out)"
        )
    return (
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=-\nc=IN IP4 {host}\nt=0 0\n"
        f"m=video {port.group(1)} RTP/AVP {PAYLOAD}\na=rtpmap:{PAYLOAD} {CODECS[codec]}/90000\n"
    )


def _told(error: Exception, timeout_s: float) -> str:
    if type(error).__name__ == "ExitError":  # what a time-out is called there
        return f"no data for {timeout_s:g} s"
    return getattr(error, "strerror", None) or str(error)
