"""Serves a stream on loopback until it is killed: `stream_server.py KIND PORT [FOLDER HZ]`.

tcp, udp: MPEG-TS of H.264; rtp: H.264; rtsp: the same, by a client's request and through its
connection; http: JPEG after JPEG. Pictures are noise about a grey that tells their number, or
the photos of a folder, all of one size, back and forth.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, HEIGHT, RATE_HZ = 160, 120, 30
LOOPBACK = "127.0.0.1"
GREYS = (80, 180)  # of pictures by turns


def noise() -> Iterator[np.ndarray]:
    """(HEIGHT,WIDTH,3) each."""
    for number in count():
        grey = GREYS[number // 10 % 2]
        shown = np.random.default_rng(number).integers(-20, 20, (HEIGHT, WIDTH, 1))
        yield np.repeat(grey + shown, 3, 2).astype(np.uint8)


def photos(folder: Path) -> Iterator[np.ndarray]:
    """(H,W,3) each, from where in their row the clock is: no jump after a new start."""
    import cv2

    paths = sorted(folder.glob("*.jpg"))
    around = [*paths, *paths[-2:0:-1]]
    for number in count(int(time.time() * RATE_HZ)):
        yield np.asarray(cv2.imread(str(around[number % len(around)])), np.uint8)


def pictures() -> Iterator[np.ndarray]:
    """In their time."""
    start_s = time.monotonic()
    for number, picture in enumerate(photos(Path(sys.argv[3])) if sys.argv[3:] else noise()):
        time.sleep(max(0.0, start_s + number / RATE_HZ - time.monotonic()))
        yield picture


def mux(file: Any, kind: str) -> None:
    """H.264 into whatever takes it."""
    import av

    options = {"preset": "ultrafast", "tune": "zerolatency"}
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream("libx264", rate=RATE_HZ, options=options)
        stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", 10
        for number, picture in enumerate(pictures()):
            if number == 0:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts = number
            for packet in stream.encode(frame):
                container.mux(packet)


def accept(port: int) -> socket.socket:
    """The first client."""
    with socket.create_server((LOOPBACK, port)) as server:
        print("ready", flush=True)
        return server.accept()[0]


def serve_http(port: int) -> None:
    import cv2

    client = accept(port)
    client.recv(4096)
    head = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=cut\r\n\r\n"
    client.sendall(head)
    for picture in pictures():
        data = cv2.imencode(".jpg", picture)[1].tobytes()
        part = f"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
        client.sendall(part.encode() + data + b"\r\n")


def serve_rtsp(port: int) -> None:
    """Just enough of RFC 2326: what is asked is answered, then packets go interleaved."""
    client = accept(port)
    described = (
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
        "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track\r\n"
    )
    answers = {
        "OPTIONS": ("Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\n", ""),
        "DESCRIBE": ("Content-Type: application/sdp\r\n", described),
        "SETUP": ("Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n", ""),
        "PLAY": ("Session: 1\r\n", ""),
    }
    asked = ""
    while asked != "PLAY":
        request = client.recv(4096).decode()
        asked = request.split()[0]
        number = request.lower().split("cseq:")[1].split()[0]
        head, body = answers[asked]
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        client.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{head}{length}\r\n{body}".encode())

    class Interleaved:
        """Takes RTP packets, each behind its length."""

        def write(self, data: bytes) -> int:
            at = 0
            while at < len(data):
                size = int.from_bytes(data[at : at + 2], "big")
                packet = data[at + 2 : at + 2 + size]
                channel = 1 if 200 <= packet[1] <= 204 else 0  # RTCP's own
                client.sendall(b"$" + bytes([channel]) + data[at : at + 2] + packet)
                at += 2 + size
            return len(data)

    mux_framed(Interleaved())


def mux_framed(to: Any) -> None:
    """RTP packets, by way of a socket of our own."""
    import threading

    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind((LOOPBACK, 0))
    port = receiver.getsockname()[1]
    threading.Thread(
        target=mux, args=(f"rtp://{LOOPBACK}:{port}?pkt_size=1200", "rtp"), daemon=True
    ).start()
    while True:
        packet = receiver.recv(65536)
        to.write(len(packet).to_bytes(2, "big") + packet)


def main() -> None:
    global RATE_HZ
    kind, port = sys.argv[1], int(sys.argv[2])
    if sys.argv[3:]:
        RATE_HZ = int(sys.argv[4])
    if kind == "http":
        serve_http(port)
    elif kind == "rtsp":
        serve_rtsp(port)
    elif kind == "tcp":
        mux(accept(port).makefile("wb", 0), "mpegts")
    else:
        print("ready", flush=True)
        mux(f"{kind}://{LOOPBACK}:{port}?pkt_size=1316", {"udp": "mpegts"}.get(kind, kind))


if __name__ == "__main__":
    main()
