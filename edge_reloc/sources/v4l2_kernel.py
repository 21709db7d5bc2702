"""What is used of the kernel's interface to cameras (Video4Linux2), as its header lays it out.

Names are the header's, `linux/videodev2.h`, in its order; unions have the one member that is
used here. Layout: 64-bit little-endian, which is every machine this runs on.
"""

from __future__ import annotations

import ctypes

CAPTURE = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE
MMAP = 1  # V4L2_MEMORY_MMAP
ANY_FIELD = 0
CAP_VIDEO_CAPTURE, CAP_STREAMING, CAP_DEVICE_CAPS = 0x1, 0x04000000, 0x80000000
CAP_TIMEPERFRAME = 0x1000
FLAG_ERROR = 0x40
TIMESTAMP_MASK, TIMESTAMP_MONOTONIC = 0xE000, 0x2000
STAMP_SOURCE_MASK, STAMP_START_OF_EXPOSURE = 0x70000, 0x10000
COLORSPACE_JPEG = 7
FULL_RANGE, LIMITED_RANGE = 1, 2  # V4L2_QUANTIZATION_*
EXPOSURE_AUTO, EXPOSURE_ABSOLUTE, GAIN = 0x009A0901, 0x009A0902, 0x00980913
FOCUS_ABSOLUTE, FOCUS_AUTO = 0x009A090A, 0x009A090C
EXPOSURE_MANUAL = 1
EXPOSURE_UNIT_NS = 100_000

U32 = ctypes.c_uint32


class Capability(ctypes.Structure):
    _fields_ = (
        ("driver", ctypes.c_char * 16),
        ("card", ctypes.c_char * 32),
        ("bus_info", ctypes.c_char * 32),
        ("version", U32),
        ("capabilities", U32),
        ("device_caps", U32),
        ("reserved", U32 * 3),
    )


class FormatDescription(ctypes.Structure):
    _fields_ = (
        ("index", U32),
        ("type", U32),
        ("flags", U32),
        ("description", ctypes.c_char * 32),
        ("pixelformat", U32),
        ("mbus_code", U32),
        ("reserved", U32 * 3),
    )


class Format(ctypes.Structure):
    """With `struct v4l2_pix_format` as its union."""

    _fields_ = (
        ("type", U32),
        ("_align", U32),
        ("width", U32),
        ("height", U32),
        ("pixelformat", U32),
        ("field", U32),
        ("bytesperline", U32),
        ("sizeimage", U32),
        ("colorspace", U32),
        ("priv", U32),
        ("flags", U32),
        ("ycbcr_enc", U32),
        ("quantization", U32),
        ("xfer_func", U32),
        ("_rest", ctypes.c_uint8 * 152),
    )


class Rate(ctypes.Structure):
    """`struct v4l2_streamparm` of a capture."""

    _fields_ = (
        ("type", U32),
        ("capability", U32),
        ("capturemode", U32),
        ("numerator", U32),
        ("denominator", U32),
        ("_rest", ctypes.c_uint8 * 184),
    )


class RequestBuffers(ctypes.Structure):
    _fields_ = (
        ("count", U32),
        ("type", U32),
        ("memory", U32),
        ("capabilities", U32),
        ("flags", U32),
    )


class Buffer(ctypes.Structure):
    _fields_ = (
        ("index", U32),
        ("type", U32),
        ("bytesused", U32),
        ("flags", U32),
        ("field", U32),
        ("_align", U32),
        ("seconds", ctypes.c_int64),
        ("microseconds", ctypes.c_int64),
        ("timecode", ctypes.c_uint8 * 16),
        ("sequence", U32),
        ("memory", U32),
        ("offset", ctypes.c_uint64),
        ("length", U32),
        ("reserved2", U32),
        ("request_fd", ctypes.c_int32),
        ("_align_2", U32),
    )


class Control(ctypes.Structure):
    _fields_ = (("id", U32), ("value", ctypes.c_int32))


READ, WRITE = 2, 1


def _number(direction: int, number: int, of: type[ctypes.Structure] | type[ctypes.c_int]) -> int:
    """Of an ioctl: direction, size of what is passed, letter, number."""
    return direction << 30 | ctypes.sizeof(of) << 16 | ord("V") << 8 | number


QUERYCAP = _number(READ, 0, Capability)
ENUM_FMT = _number(READ | WRITE, 2, FormatDescription)
S_FMT = _number(READ | WRITE, 5, Format)
REQBUFS = _number(READ | WRITE, 8, RequestBuffers)
QUERYBUF = _number(READ | WRITE, 9, Buffer)
QBUF = _number(READ | WRITE, 15, Buffer)
DQBUF = _number(READ | WRITE, 17, Buffer)
STREAMON = _number(WRITE, 18, ctypes.c_int)
STREAMOFF = _number(WRITE, 19, ctypes.c_int)
G_PARM = _number(READ | WRITE, 21, Rate)
S_PARM = _number(READ | WRITE, 22, Rate)
S_CTRL = _number(READ | WRITE, 28, Control)


def four_letters(code: int) -> str:
    """A pixel format as people write it."""
    return code.to_bytes(4, "little").decode("ascii", "replace").strip()


def code_of(letters: str) -> int:
    """A pixel format as drivers know it."""
    return int.from_bytes(letters.ljust(4).encode("ascii", "replace"), "little")
