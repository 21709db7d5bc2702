"""How the camera is mounted on a body, from poses of both (hand-eye calibration).

`world_from_body(t) @ body_from_cam = world_from_map @ map_from_cam(t)`: both unknown transforms,
the map's scale and, if asked for, the shift of the clocks are fitted to all poses. The first
guess takes turns alone, then places (Park and Martin, Robot sensor calibration: solving AX=XB on
the Euclidean group, 1994).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from edge_reloc.arrays import F64
from edge_reloc.errors import CameraError
from edge_reloc.geometry.rigid import compose, invert, so3_exp

from .trajectory import Trajectory
from .turns import nearest_rotation, rotation_vectors
from .uncertainty import leave_one_out

LEAST_POSES = 20
MOST_POSES = 1500
MOST_GAP_S = 0.5  # between two poses of the body that one between them is taken from
GUESS_POSES = 60
LEAST_TURN_DEG = 5.0  # root mean square, about the second axis
BLOCKS = 12  # of time, that err independently
SCALE_SIGMA = 0.1  # of a map that calls itself metric
HUBER = 2.5
ROUNDS, CONVERGED = 20, 1e-6  # rad and metres
MOST_UNSURE_DEG, MOST_UNSURE_M = 2.0, 0.2
MOST_RESIDUAL_DEG = 5.0
SHIFT_STEP_S = 0.02
LEAST_OVERLAP, LEAST_CORRELATION, LEAST_RATE = 0.5, 0.8, 0.1  # rad/s
MOST_BETWEEN_S = 0.3  # two poses of the camera that a rate of turn is taken from


@dataclass(frozen=True, kw_only=True)
class Mount:
    """The mount, and what it is worth."""

    #: (4,4)
    body_from_cam: F64
    #: (3,) standard deviations about and along the body's axes
    sigma_deg: F64
    sigma_m: F64
    #: root mean square over the poses
    residual_deg: float
    residual_m: float
    poses: int
    #: what is added to the camera's times to have the body's, and its standard deviation;
    #: the latter None where it was given
    offset_ms: float
    offset_sigma_ms: float | None
    #: metres of the body to a metre of the map, and its standard deviation
    scale: float
    scale_sigma: float

    def to_json(self) -> dict[str, Any]:
        """The same for a program."""
        return {
            "sigma_deg": self.sigma_deg.tolist(),
            "sigma_m": self.sigma_m.tolist(),
            "residual_deg": self.residual_deg,
            "residual_m": self.residual_m,
            "poses": self.poses,
            "offset_ms": self.offset_ms,
            "offset_sigma_ms": self.offset_sigma_ms,
            "scale": self.scale,
            "scale_sigma": self.scale_sigma,
        }

    def text(self) -> str:
        """Lines for a person."""
        x, y, z = self.body_from_cam[:3, 3]
        axes = ("right", "down", "ahead")
        columns = (
            f"{axes[i]} = ({', '.join(f'{v:+.3f}' for v in self.body_from_cam[:3, i])})"
            for i in range(3)
        )
        sigma = "" if self.offset_sigma_ms is None else f" ± {self.offset_sigma_ms:.1f}"
        lines = [
            f"mount       camera at ({x:.3f}, {y:.3f}, {z:.3f}) m of the body ± "
            f"({', '.join(f'{s:.3f}' for s in self.sigma_m)})",
            f"            its {', '.join(columns)} in the body's axes, "
            f"± ({', '.join(f'{s:.2f}' for s in self.sigma_deg)}) degrees",
            f"residuals   {self.residual_deg:.2f} degrees and {self.residual_m:.3f} m root mean "
            f"square over {self.poses} poses",
            f"clocks      body = camera {self.offset_ms:+.1f}{sigma} ms",
            f"scale       {self.scale:.4f} ± {self.scale_sigma:.4f} metres of the body to one of "
            f"the map",
        ]
        if abs(self.scale - 1) > max(0.02, 3 * self.scale_sigma):
            lines.append("warning     the map is not in the body's metres: align it")
        if self.sigma_m.max() > MOST_UNSURE_M:
            lines.append(
                f"warning     the place of the camera is known to {self.sigma_m.max():.2f} m only: "
                f"turn more, about all axes"
            )
        return "\n".join(lines)


class Pairs(NamedTuple):
    """N poses of both at one time."""

    #: (N,) nanoseconds by the camera's clock
    t_ns: F64
    #: (N,4,4)
    world_from_body: F64
    map_from_cam: F64
    #: that the body's poses were taken with, seconds
    offset_s: float


class State(NamedTuple):
    """What is fitted."""

    body_from_cam: F64
    world_from_map: F64
    log_scale: float
    #: seconds
    offset_s: float


def find_mount(camera: Trajectory, body: Trajectory, offset_ms: float | None = 0.0) -> Mount:
    """The mount from poses of the camera in the map and of the body in its world.

    offset_ms: added to the camera's times to have the body's; None finds it from how fast both
    turn. Raises CameraError for poses that do not overlap, do not belong together, or turn
    about one axis only.
    """
    offset_s = clock_offset_s(camera, body) if offset_ms is None else offset_ms * 1e-3
    pairs = paired(camera, body, offset_s)
    start = State(*first_guess(pairs), 0.0, offset_s)
    return _refined(pairs, body, start, moves_clock=offset_ms is None)


def paired(camera: Trajectory, body: Trajectory, offset_s: float) -> Pairs:
    """Poses of the camera whose times the body's poses enclose, at most MOST_POSES of them."""
    there, known = body.at(np.asarray(camera.t_ns + offset_s * 1e9, np.float64), MOST_GAP_S)
    chosen = np.flatnonzero(known)
    if len(chosen) < LEAST_POSES:
        raise CameraError(
            f"mount: {len(chosen)} of {len(camera)} poses of the camera lie between poses of the "
            f"body at most {MOST_GAP_S:g} s apart, expected {LEAST_POSES} at least; are both of "
            f"one clock? (--offset-ms auto finds the shift)"
        )
    chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, MOST_POSES).astype(int))]
    return Pairs(
        camera.t_ns[chosen].astype(np.float64),
        there[chosen],
        camera.world_from_it[chosen],
        offset_s,
    )


def first_guess(pairs: Pairs) -> tuple[F64, F64]:
    """(4,4) body_from_cam and world_from_map; CameraError for turns about one axis only."""
    some = np.unique(np.linspace(0, len(pairs.t_ns) - 1, GUESS_POSES).astype(int))
    body, cam = pairs.world_from_body[some], pairs.map_from_cam[some]
    i, j = np.triu_indices(len(some), 1)
    moved_body, moved_cam = _moves(body, i, j), _moves(cam, i, j)
    turned_body = rotation_vectors(moved_body[:, :3, :3])
    turned_cam = rotation_vectors(moved_cam[:, :3, :3])
    # Near half a turn the axis flips its sign.
    usable = np.linalg.norm(turned_cam, axis=1) < 2.6
    spread = turned_cam[usable]
    about = np.degrees(np.sqrt(np.linalg.eigvalsh(spread.T @ spread / max(len(spread), 1))))
    if about[1] < LEAST_TURN_DEG:
        raise CameraError(
            f"mount: the body turned by {about[2]:.1f} degrees about one axis and "
            f"{about[1]:.1f} about any other, expected {LEAST_TURN_DEG:g} at least about two: "
            f"also tilt it, or the mount stays open along that axis"
        )
    rotation = nearest_rotation(turned_body[usable].T @ turned_cam[usable])
    lever = (moved_body[:, :3, :3] - np.eye(3)).reshape(-1, 3)
    shift = (moved_cam[:, :3, 3] @ rotation.T - moved_body[:, :3, 3]).ravel()
    body_from_cam = compose(rotation, np.linalg.lstsq(lever, shift, rcond=None)[0])
    middle = len(some) // 2
    return body_from_cam, body[middle] @ body_from_cam @ invert(cam[middle])


def clock_offset_s(camera: Trajectory, body: Trajectory) -> float:
    """What is added to the camera's times so that both turn alike. Raises CameraError."""
    cam_s, cam_rate = _turn_rates(camera)
    body_s, body_rate = _turn_rates(body)
    if len(cam_s) < LEAST_POSES or len(body_s) < LEAST_POSES or cam_rate.std() < LEAST_RATE:
        spread = float(cam_rate.std()) if len(cam_rate) else 0.0
        raise CameraError(
            f"mount: no shift of the clocks can be told from {len(cam_s)} rates of turn that "
            f"spread by {spread:.2f} rad/s, expected {LEAST_RATE} at least; pass --offset-ms"
        )
    least = LEAST_OVERLAP * (cam_s[-1] - cam_s[0])
    shifts = np.arange(body_s[0] - cam_s[-1] + least, body_s[-1] - cam_s[0] - least, SHIFT_STEP_S)
    best, best_shift = -1.0, 0.0
    for shift in shifts:
        inside = (cam_s + shift >= body_s[0]) & (cam_s + shift <= body_s[-1])
        if inside.sum() < LEAST_POSES:
            continue
        other = np.interp(cam_s[inside] + shift, body_s, body_rate)
        if other.std() < 1e-9 or cam_rate[inside].std() < 1e-9:
            continue
        agreement = float(np.corrcoef(cam_rate[inside], other)[0, 1])
        if agreement > best:
            best, best_shift = agreement, float(shift)
    if best < LEAST_CORRELATION:
        raise CameraError(
            f"mount: camera and body do not turn alike at any shift of their clocks (correlation "
            f"{best:.2f}, expected {LEAST_CORRELATION}); are both of one run?"
        )
    return best_shift


def _turn_rates(path: Trajectory) -> tuple[F64, F64]:
    """Middle times (s) and rates (rad/s) between poses that follow each other closely."""
    gap_s = np.diff(path.t_ns) * 1e-9
    close = (gap_s > 1e-4) & (gap_s < MOST_BETWEEN_S)
    turns = path.world_from_it[:, :3, :3]
    angle = np.linalg.norm(rotation_vectors(turns[:-1].transpose(0, 2, 1) @ turns[1:]), axis=1)
    middle_s = (path.t_ns[:-1] + np.diff(path.t_ns) / 2) * 1e-9
    return middle_s[close], angle[close] / gap_s[close]


def _moves(poses: F64, i: Any, j: Any) -> F64:
    """(P,4,4) of pose j as pose i sees it."""
    return np.asarray(np.linalg.inv(poses[i]) @ poses[j])


def _refined(pairs: Pairs, body: Trajectory, start: State, *, moves_clock: bool) -> Mount:
    """Gauss-Newton over all poses, errors weighed by what they are."""
    free = 14 if moves_clock else 13
    state, weight = start, np.ones((len(pairs.t_ns), 6))
    for _ in range(ROUNDS):
        error = _errors(pairs, body, state)
        weight = _weights(error)
        steps = _steps(pairs, body, state, error, free)
        information = np.einsum("nek,ne,nel->kl", steps, weight, steps)
        gradient = np.einsum("nek,ne,ne->k", steps, weight, error)
        information[12, 12] += 1 / SCALE_SIGMA**2
        gradient[12] += state.log_scale / SCALE_SIGMA**2
        delta = -np.linalg.solve(information + 1e-9 * np.eye(free), gradient)
        state = _moved(state, delta)
        if np.abs(delta).max() < CONVERGED:
            break
    error = _errors(pairs, body, state)
    steps = _steps(pairs, body, state, error, free)
    block = np.minimum(np.arange(len(error)) * BLOCKS // len(error), BLOCKS - 1)
    informations, gradients = (
        np.array([values[block == b].sum(axis=0) for b in range(BLOCKS)])
        for values in (
            np.einsum("nek,ne,nel->nkl", steps, weight, steps),
            np.einsum("nek,ne,ne->nk", steps, weight, error),
        )
    )
    informations[:, 12, 12] += 1 / SCALE_SIGMA**2 / BLOCKS
    sigma = leave_one_out(informations, gradients)
    return _checked(state, error, sigma)


def _checked(state: State, error: F64, sigma: F64) -> Mount:
    mount = Mount(
        body_from_cam=state.body_from_cam,
        sigma_deg=np.degrees(sigma[:3]),
        sigma_m=sigma[3:6],
        residual_deg=float(np.degrees(np.sqrt((error[:, :3] ** 2).sum(axis=1).mean()))),
        residual_m=float(np.sqrt((error[:, 3:] ** 2).sum(axis=1).mean())),
        poses=len(error),
        offset_ms=state.offset_s * 1e3,
        offset_sigma_ms=float(sigma[13]) * 1e3 if len(sigma) > 13 else None,
        scale=float(np.exp(state.log_scale)),
        scale_sigma=float(sigma[12]),
    )
    if mount.residual_deg > MOST_RESIDUAL_DEG:
        raise CameraError(
            f"mount: the two paths turn differently (residual {mount.residual_deg:.1f} degrees, "
            f"expected at most {MOST_RESIDUAL_DEG:g}); are both right-handed, of one run and of "
            f"one clock? (--offset-ms auto finds a shift)"
        )
    if mount.sigma_deg.max() > MOST_UNSURE_DEG:
        raise CameraError(
            f"mount: the rotation is known to {mount.sigma_deg.max():.1f} degrees only, expected "
            f"{MOST_UNSURE_DEG:g}; record longer, with more turns about all axes"
        )
    return mount


def _errors(pairs: Pairs, body: Trajectory, state: State) -> F64:
    """(N,6) of each pose, in the camera's axes: rotation (rad), translation (m)."""
    there = pairs.world_from_body
    if state.offset_s != pairs.offset_s:
        there, _ = body.at(pairs.t_ns + state.offset_s * 1e9, np.inf)
    by_body = there @ state.body_from_cam
    cam = pairs.map_from_cam.copy()
    cam[:, :3, 3] *= np.exp(state.log_scale)
    by_map = state.world_from_map @ cam
    back = by_body[:, :3, :3].transpose(0, 2, 1)
    shift = (back @ (by_map[:, :3, 3] - by_body[:, :3, 3])[:, :, None])[:, :, 0]
    return np.concatenate([rotation_vectors(back @ by_map[:, :3, :3]), shift], axis=1)


def _steps(pairs: Pairs, body: Trajectory, state: State, error: F64, free: int) -> F64:
    """(N,6,K) derivatives of the errors by differences."""
    steps = np.empty((*error.shape, free))
    for k in range(free):
        delta = np.zeros(free)
        delta[k] = 1e-6 if k < 13 else 1e-4
        steps[:, :, k] = (_errors(pairs, body, _moved(state, delta)) - error) / delta[k]
    return steps


def _moved(state: State, delta: F64) -> State:
    return State(
        _nudged(state.body_from_cam, delta[:6]),
        _nudged(state.world_from_map, delta[6:12]),
        state.log_scale + float(delta[12]),
        state.offset_s + (float(delta[13]) if len(delta) > 13 else 0.0),
    )


def _nudged(a_from_b: F64, delta: F64) -> F64:
    """Turned about its own place and shifted, both along the axes of frame a."""
    return compose(so3_exp(delta[:3]) @ a_from_b[:3, :3], a_from_b[:3, 3] + delta[3:])


def _weights(error: F64) -> F64:
    """(N,6) one over the variance, less for what stands out."""
    out = np.empty_like(error)
    for part in (slice(0, 3), slice(3, 6)):
        length = np.linalg.norm(error[:, part], axis=1)
        sigma = max(float(np.median(length)) / 1.538, 1e-9)  # median of a 3D normal's length
        out[:, part] = (np.minimum(1, HUBER * sigma * 1.7 / np.maximum(length, 1e-12)) / sigma**2)[
            :, None
        ]
    return out
