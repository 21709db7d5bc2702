"""Our messages as MAVSDK decodes them, a library that shares no code with pymavlink.

    pip install mavsdk
    python tests/autopilots/mavsdk_reads.py

Sends one pose of each kind through `MavlinkSink` to MAVSDK's MavlinkDirect and prints what both
say; exits with 1 where they differ.
"""

from __future__ import annotations

import json
import socket
import sys
import time

import numpy as np
from mavsdk import ComponentType, Configuration, Mavsdk
from mavsdk.plugins.mavlink_direct import MavlinkDirect

from edge_reloc.bundle.manifest import World
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.frames import MOUNTS
from edge_reloc.geometry.rigid import compose, invert, so3_exp
from edge_reloc.sinks.facts import RunFacts
from edge_reloc.sinks.mavlink import MavlinkSink
from edge_reloc.structs import PoseEstimate, State, Status

WAIT_S = 20.0
ORIGIN = {"latitude_deg": 47.0, "longitude_deg": 8.0, "altitude_m": 400.0}
AXES = ("x", "y", "z")


def free_port() -> int:
    """A UDP port that nobody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def main() -> int:
    """0 where MAVSDK reads what was sent."""
    port = free_port()
    mavsdk = Mavsdk(Configuration.create_with_component_type(ComponentType.GROUND_STATION))
    print(f"MAVSDK {mavsdk.version()}: {mavsdk.add_any_connection(f'udpin://127.0.0.1:{port}')}")
    world = World(metric=True, gravity=(0.0, 0.0, -1.0), georeference=ORIGIN)
    camera = Camera(model="pinhole", width=64, height=48, fx=50, fy=50, cx=32, cy=24)
    facts = RunFacts(world=world, camera=camera.mounted(MOUNTS["front"]))
    address = f"udpout:127.0.0.1:{port}?autopilot=px4&as="
    sinks = [MavlinkSink(address + kind, facts) for kind in ("odometry", "global_position")]
    end_s = time.monotonic() + WAIT_S
    while not mavsdk.get_systems() and time.monotonic() < end_s:
        time.sleep(0.1)
    direct = MavlinkDirect(mavsdk.get_systems()[0])
    came: dict[str, dict] = {}
    for name in ("ODOMETRY", "GLOBAL_POSITION_SENSOR", "STATUSTEXT", "HEARTBEAT"):
        direct.subscribe_message(
            name, lambda message, _: came.update({message.message_name: message.fields_json})
        )
    flu = compose(so3_exp([0, 0, 0.5]), [1.0, 2.0, 3.0])  # east, north, up
    state = iter([State.SEARCHING, State.TRACKING] * 1000)
    while len(came) < 4 and time.monotonic() < end_s:
        for sink in sinks:
            estimate = PoseEstimate(
                t_ns=time.monotonic_ns(),
                status=Status.OK,
                state=next(state),
                cam_from_world=invert(MOUNTS["front"]) @ invert(flu),
                covariance=np.eye(6) * 1e-4,
                p_right=0.9,
                reset_counter=3,
            )
            sink.write(estimate)
        time.sleep(0.05)
    fields = {name: json.loads(text) for name, text in came.items()}
    for name, values in fields.items():
        print(name, json.dumps(values))
    odometry, sensor = fields["ODOMETRY"], fields["GLOBAL_POSITION_SENSOR"]
    place = np.array([odometry[axis] for axis in AXES])
    yaw = 2 * np.arctan2(odometry["q"][3], odometry["q"][0])
    good = (
        np.allclose(place, [2, 1, -3], atol=1e-5)
        and np.isclose(yaw, np.pi / 2 - 0.5, atol=1e-5)
        and np.allclose(np.array(odometry["pose_covariance"])[[0, 6, 11, 15, 18, 20]], 1e-4)
        and (odometry["frame_id"], odometry["child_frame_id"]) == (1, 12)
        and (odometry["quality"], odometry["reset_counter"]) == (90, 3)
        and abs(sensor["lat"] - 470_000_180) < 2
        and np.isclose(sensor["alt"], 403, atol=1e-3)
    )
    for sink in sinks:
        sink.close()
    print("as sent" if good else "NOT as sent")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
