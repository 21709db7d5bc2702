"""The doctor's look at autopilots: one made of a socket and a table of parameters."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

pytest.importorskip("pymavlink")
from pymavlink.dialects.v20 import common

from edge_reloc import doctor
from edge_reloc.diagnosis import autopilot_link
from edge_reloc.diagnosis.autopilot import needs_of
from edge_reloc.running.demo import DEMO

PX4, ARDUPILOT = 12, 3


class FakeAutopilot:
    """Answers a heartbeat with its own, and requests of parameters that it has."""

    def __init__(self, kind: int, values: dict[str, float], whole: set[str]) -> None:
        self._kind, self._values, self._whole = kind, values, whole
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.1)
        self.address = f"udpout:127.0.0.1:{self._socket.getsockname()[1]}"
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        mav = common.MAVLink(None, 1, 1)
        while not self._closing.is_set():
            try:
                data, sender = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            for message in mav.parse_buffer(data) or []:
                answer = self._answer(message)
                if answer is not None:
                    self._socket.sendto(answer.pack(mav), sender)

    def _answer(self, message: common.MAVLink_message) -> common.MAVLink_message | None:
        if message.get_type() == "HEARTBEAT":
            return common.MAVLink_heartbeat_message(2, self._kind, 0, 0, 4, 3)
        name = getattr(message, "param_id", None)
        if message.get_type() != "PARAM_REQUEST_READ" or name not in self._values:
            return None
        value, kind = self._values[name], 9
        if name in self._whole:
            kind = 6
            if self._kind == PX4:  # the four bytes of a whole number, called a float
                value = struct.unpack("<f", struct.pack("<i", int(value)))[0]
        return common.MAVLink_param_value_message(name.encode(), value, kind, 1, 0)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._socket.close()


def good(autopilot: str) -> dict[str, float]:
    return {need.name: need.value for need in needs_of(autopilot)}


@pytest.fixture
def serve() -> Iterator[list[FakeAutopilot]]:
    """Autopilots that are closed in the end."""
    served: list[FakeAutopilot] = []
    yield served
    for autopilot in served:
        autopilot.close()


@pytest.mark.parametrize(("name", "kind"), [("px4", PX4), ("ardupilot", ARDUPILOT)])
def test_parameters_that_differ_are_marked(
    name: str, kind: int, serve: list[FakeAutopilot], capsys: pytest.CaptureFixture[str]
) -> None:
    values = good(name)
    whole = {"EKF2_EV_CTRL", "VISO_TYPE", "EK3_SRC1_POSXY"} & set(values)
    serve.append(FakeAutopilot(kind, values, whole))
    assert doctor.main(["--autopilot", name, "--link", serve[0].address]) == 0
    assert "ok       " in capsys.readouterr().out
    wrong = "EKF2_EV_CTRL" if name == "px4" else "EK3_SRC1_POSXY"
    values[wrong] = 3
    assert doctor.main(["--autopilot", name, "--link", serve[0].address, "--json"]) == 1
    checks = {check["subject"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks[wrong]["state"] == "missing"
    assert checks[wrong]["cure"] == f"param set {wrong} {good(name)[wrong]:g}"
    assert [c["subject"] for c in checks.values() if c["state"] != "ok"] == [wrong]


def test_parameters_that_are_not_there(
    serve: list[FakeAutopilot],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(autopilot_link, "TRY_S", 0.05)
    values = good("ardupilot")
    del values["VISO_TYPE"], values["VISO_QUAL_MIN"]
    serve.append(FakeAutopilot(ARDUPILOT, values, set()))
    assert doctor.main(["--autopilot", "ardupilot", "--link", serve[0].address]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:4] == ["missing", "VISO_TYPE", "not", "there"] for line in lines)
    assert any(line.split()[:4] == ["note", "VISO_QUAL_MIN", "not", "there"] for line in lines)


def test_the_wrong_autopilot_and_none(
    serve: list[FakeAutopilot],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(autopilot_link, "HEARTBEAT_S", 0.5)
    serve.append(FakeAutopilot(ARDUPILOT, {}, set()))
    assert doctor.main(["--autopilot", "px4", "--link", serve[0].address]) == 1
    assert "ardupilot answers; say --autopilot ardupilot" in capsys.readouterr().err
    assert doctor.main(["--autopilot", "px4", "--link", "udpin:127.0.0.1:0"]) == 1
    assert "no autopilot speaks there" in capsys.readouterr().err


def test_the_list_without_a_link(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--autopilot", "ardupilot", "--age-ms", "80"]) == 0
    assert "VISO_DELAY_MS  80: " in capsys.readouterr().out
    assert doctor.main(["--autopilot", "ardupilot", "--age-ms", "80.4"]) == 0
    assert "VISO_DELAY_MS  80: " in capsys.readouterr().out, "it holds whole numbers only"
    assert doctor.main(["--autopilot", "px4", "--map", str(DEMO / "map")]) == 0
    assert "EKF2_EV_CTRL     11: " in capsys.readouterr().out
    with pytest.raises(SystemExit):
        doctor.main(["--link", "udpin:127.0.0.1:14550"])
    with pytest.raises(SystemExit):
        doctor.main(["--autopilot", "px4", "--age-ms", "-80"])
