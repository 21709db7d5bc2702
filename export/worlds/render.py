"""Ray casting of a world of quads, antialiased, with exact depth.

For a quad with corner C and edges U, V in camera axes, a point at depth z on
the ray r = (x, y, 1) satisfies [U V C] (u, v, 1)^T = z r. So with
A = [U V C]^-1 the rows of A r are u/z, v/z and 1/z: linear in the pixel, no
division is needed to decide what is in front.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_reloc.arrays import F32, F64, U8
from edge_reloc.geometry.camera import Camera

from .world import Quad, World

NEAR_M = 0.05
TILE_PX = 16
MAX_TAPS = 4  # samples along a stretched footprint
ROW = 512  # samples are taken in rows of this many


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """What a camera sees of a world."""

    image_bgr: U8  #: (H,W,3)
    depth_m: F32  #: (H,W), z in camera axes at the pixel's centre, 0 where there is sky
    quad: NDArray[np.int16]  #: (H,W), which quad, -1 for sky


@dataclass(frozen=True, kw_only=True)
class _Rays:
    """Image-plane coordinates, and their ranges per tile."""

    x: F32  #: (h,w)
    y: F32  #: (h,w)
    low: F32  #: (rows,cols,2)
    high: F32  #: (rows,cols,2)
    step: float  #: between neighbouring rays


def render(world: World, camera: Camera, cam_from_world: F64, *, supersample: int = 2) -> Rendering:
    """Picture and depth of a world from a pose.

    cam_from_world (4,4). supersample: rays per pixel and axis. Quads are
    opaque and seen from the front only.
    """
    fine, centre = _rays(camera, supersample), _rays(camera, 1)
    height, width = fine.x.shape
    inverse_z = np.zeros((height, width), np.float32)
    owner = np.full((height, width), -1, np.int16)
    solvers: dict[int, F32] = {}
    for index, quad in enumerate(world.quads):
        corners = quad.corners @ cam_from_world[:3, :3].T + cam_from_world[:3, 3]
        window = _window(corners, fine, supersample)
        if window is None:
            continue
        frame = np.stack([corners[1] - corners[0], corners[3] - corners[0], corners[0]], axis=1)
        solver = np.linalg.inv(frame).astype(np.float32)
        rows, cols = window
        x, y = fine.x[rows, cols], fine.y[rows, cols]
        u, v, inv = (a * x + b * y + c for a, b, c in solver)
        seen = (u >= 0) & (v >= 0) & (u <= inv) & (v <= inv) & (inv > inverse_z[rows, cols])
        if seen.any():
            solvers[index] = solver
            inverse_z[rows, cols][seen] = inv[seen]
            owner[rows, cols][seen] = index
    picture = _paint_sky(world, fine, owner, cam_from_world)
    order = np.argsort(owner, axis=None, kind="stable")
    found, first = np.unique(owner.ravel()[order], return_index=True)
    for index, samples in zip(found, np.split(order, first[1:]), strict=True):
        if index >= 0:
            _paint(picture, world.quads[index], solvers[index], fine, samples)
    image = cv2.resize(picture, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    middle = supersample // 2
    small = np.ascontiguousarray(owner[middle::supersample, middle::supersample])
    return Rendering(image_bgr=image, depth_m=_depth(small, solvers, centre), quad=small)


@lru_cache(maxsize=4)
def _rays(camera: Camera, supersample: int) -> _Rays:
    """Rays of all samples of a camera, kept for the next view."""
    height, width = camera.height * supersample, camera.width * supersample
    cols = (np.arange(width) + 0.5) / supersample - 0.5
    rows = (np.arange(height) + 0.5) / supersample - 0.5
    pixels = np.stack(np.meshgrid(cols, rows), axis=-1).reshape(-1, 2)
    xy = camera.rays_from_pixels(pixels).astype(np.float32).reshape(height, width, 2)
    tile = TILE_PX * supersample
    tiles_y, tiles_x = -(-height // tile), -(-width // tile)
    padded = np.pad(xy, ((0, tiles_y * tile - height), (0, tiles_x * tile - width), (0, 0)), "edge")
    blocks = padded.reshape(tiles_y, tile, tiles_x, tile, 2)
    return _Rays(
        x=np.ascontiguousarray(xy[..., 0]),
        y=np.ascontiguousarray(xy[..., 1]),
        low=blocks.min(axis=(1, 3)),
        high=blocks.max(axis=(1, 3)),
        step=1.0 / (camera.fx * supersample),
    )


def _window(corners: F64, rays: _Rays, supersample: int) -> tuple[slice, slice] | None:
    """Rows and columns of samples that may see a quad (4,3), None if none."""
    normal = np.cross(corners[3] - corners[0], corners[1] - corners[0])
    if normal @ corners[0] >= -1e-9:  # from behind or edge-on
        return None
    ahead = corners[:, 2] > NEAR_M
    if not ahead.any():
        return None
    ring = corners[ahead]
    if not ahead.all():  # clip at the near plane
        a, b = corners, np.roll(corners, -1, axis=0)
        cut = ahead != np.roll(ahead, -1)
        t = (NEAR_M - a[cut, 2]) / (b[cut, 2] - a[cut, 2])
        ring = np.concatenate([ring, a[cut] + t[:, None] * (b[cut] - a[cut])])
    xy = ring[:, :2] / ring[:, 2:]
    hit = ((rays.high >= xy.min(axis=0)) & (rays.low <= xy.max(axis=0))).all(axis=2)
    if not hit.any():
        return None
    tile = TILE_PX * supersample
    rows, cols = np.flatnonzero(hit.any(axis=1)), np.flatnonzero(hit.any(axis=0))
    return (
        slice(rows[0] * tile, (rows[-1] + 1) * tile),
        slice(cols[0] * tile, (cols[-1] + 1) * tile),
    )


def _depth(owner: NDArray[np.int16], solvers: dict[int, F32], rays: _Rays) -> F32:
    """Depth (H,W) at the pixels' centres on the plane that each one sees."""
    table = np.zeros((max(solvers, default=0) + 1, 3), np.float32)
    for index, solver in solvers.items():
        table[index] = solver[2]
    plane = table[owner]
    inverse_z = plane[..., 0] * rays.x + plane[..., 1] * rays.y + plane[..., 2]
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(owner >= 0, 1.0 / inverse_z, 0.0), np.float32)


def _paint(
    picture: U8,
    quad: Quad,
    solver: F32,
    rays: _Rays,
    samples: NDArray[np.intp],
) -> None:
    """Filtered texture of one quad on the samples (flat indices) that see it.

    A sample's footprint on the texture is a parallelogram; its short side
    chooses the mip levels, along the long one several taps are averaged.
    """
    x, y = rays.x.ravel()[samples], rays.y.ravel()[samples]
    nu, nv, inv = (a * x + b * y + c for a, b, c in solver)
    z = 1.0 / inv
    u, v = nu * z, nv * z
    height, width = quad.texture.shape[:2]
    scale = z * np.float32(rays.step)
    (ux, uy, _), (vx, vy, _), (zx, zy, _) = solver
    across = ((ux - u * zx) * scale * width, (vx - v * zx) * scale * height)
    down = ((uy - u * zy) * scale * width, (vy - v * zy) * scale * height)
    long_x, long_y = np.hypot(*across), np.hypot(*down)
    longest = np.maximum(long_x, long_y)
    area = np.abs(across[0] * down[1] - across[1] * down[0])
    shortest = area / np.maximum(longest, 1e-9)
    taps = int(
        np.clip(np.ceil(np.percentile(longest / np.maximum(shortest, 1e-9), 80)), 1, MAX_TAPS)
    )
    level = np.log2(np.maximum(np.maximum(shortest, longest / taps), 1.0))
    along_u = np.where(long_x > long_y, across[0], down[0]) / width
    along_v = np.where(long_x > long_y, across[1], down[1]) / height
    colour = np.zeros((len(u), 3), np.float32)
    top = len(quad.mips) - 1
    base = np.minimum(level.astype(np.int32), top)
    for mip in range(int(base.min()), int(base.max()) + 1):
        pick = np.flatnonzero(base == mip)
        if not len(pick):
            continue
        mix = (level[pick] - mip)[:, None]
        for tap in range(taps):
            shift = (tap + 0.5) / taps - 0.5
            at_u, at_v = u[pick] + shift * along_u[pick], v[pick] + shift * along_v[pick]
            sample = _lookup(quad.mips[mip], at_u, at_v)
            if mip < top:
                sample += mix * (_lookup(quad.mips[mip + 1], at_u, at_v) - sample)
            colour[pick] += sample
    picture.reshape(-1, 3)[samples] = (colour / taps + 0.5).astype(np.uint8)


def _lookup(texture: U8, u: F32, v: F32) -> F32:
    """Bilinear colours (N,3) float32 at u, v in 0..1, clamped at the border."""
    height, width = texture.shape[:2]
    n = len(u)
    rows = -(-n // ROW)
    at = np.zeros((2, rows * ROW), np.float32)
    at[0, :n], at[1, :n] = u * width - 0.5, v * height - 0.5
    at_x, at_y = at.reshape(2, rows, ROW)
    out = cv2.remap(texture, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out.reshape(-1, 3)[:n], np.float32)


def _paint_sky(world: World, rays: _Rays, owner: NDArray[np.int16], cam_from_world: F64) -> U8:
    """A picture with only its sky painted."""
    picture = np.zeros((*owner.shape, 3), np.uint8)
    rows, cols = np.nonzero(owner < 0)
    if len(rows):
        x, y = rays.x[rows, cols], rays.y[rows, cols]
        world_from_cam = cam_from_world[:3, :3].T.astype(np.float32)
        east, north, up = (a * x + b * y + c for a, b, c in world_from_cam)
        azimuth = np.arctan2(east, north) / (2 * np.pi) + 0.5
        elevation = np.arctan2(up, np.hypot(east, north)) / (np.pi / 2)
        colours = _lookup(world.sky, azimuth, 1 - np.clip(elevation, 0, 1))
        picture[rows, cols] = (colours + 0.5).astype(np.uint8)
    return picture
