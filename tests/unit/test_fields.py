"""Dataclasses from JSON: what is taken, what is refused and with which line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from edge_reloc.bundle.fields import read_fields
from edge_reloc.errors import BundleError, ConfigError


@dataclass(frozen=True, kw_only=True)
class Leg:
    length: float
    feet: int = 1

    def __post_init__(self) -> None:
        if self.length <= 0:
            raise ConfigError(f"length is {self.length}, expected above 0")


@dataclass(frozen=True, kw_only=True)
class Animal:
    name: str
    legs: tuple[Leg, ...] = ()
    tame: bool = False
    nose: tuple[float, float, float] | None = None
    shape: tuple[int, ...] = ()
    front: Leg | None = None
    parts: dict[str, tuple[float, float]] = field(default_factory=dict)
    by_side: dict[str, Leg] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


def test_everything_is_read() -> None:
    text = """{"name": "cow", "legs": [{"length": 1}, {"length": 2.5, "feet": 2}],
    "nose": [0, 1, 2.5], "shape": [3, 4], "front": {"length": 3}, "parts": {"tail": [1, 2]},
    "by_side": {"left": {"length": 4}}, "notes": {"any": [null]}, "tame": true}"""
    cow = read_fields(Animal, json.loads(text), "here")
    assert cow == Animal(
        name="cow",
        legs=(Leg(length=1.0), Leg(length=2.5, feet=2)),
        tame=True,
        nose=(0.0, 1.0, 2.5),
        shape=(3, 4),
        front=Leg(length=3.0),
        parts={"tail": (1.0, 2.0)},
        by_side={"left": Leg(length=4.0)},
        notes={"any": [None]},
    )
    assert cow.nose is not None and all(type(number) is float for number in cow.nose)
    assert read_fields(Animal, {"name": "x", "nose": None, "front": None}, "") == Animal(name="x")


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], "here: found list, expected an object"),
        ({}, "here: 'name' is missing, expected text"),
        ({"name": 3}, "here: 'name' is 3, expected text"),
        ({"name": None}, "here: 'name' is None, expected text"),
        ({"tame": 1}, "here: 'tame' is 1, expected true or false"),
        ({"nose": [0, 1]}, "here: 'nose' is [0, 1], expected three numbers or null"),
        ({"nose": [0, 1, True]}, "here: 'nose' is [0, 1, True], expected three numbers or null"),
        ({"nose": "up"}, "here: 'nose' is 'up', expected three numbers or null"),
        ({"shape": [1.5]}, "here: 'shape' is [1.5], expected a list of integers"),
        ({"shape": None}, "here: 'shape' is None, expected a list of integers"),
        ({"legs": {}}, "here: 'legs' is {}, expected a list of objects"),
        ({"legs": [3]}, "here: legs[0] is 3, expected an object"),
        ({"legs": [{}]}, "here: legs[0]: 'length' is missing, expected a number"),
        ({"front": 3}, "here: 'front' is 3, expected an object or null"),
        ({"front": {"length": "1"}}, "here: front: 'length' is '1', expected a number"),
        ({"front": {"length": 10**400}}, "expected a number"),
        ({"front": {"length": -1}}, "here: front: length is -1.0, expected above 0"),
        ({"parts": {"tail": [1]}}, "here: parts['tail'] is [1], expected two numbers"),
        ({"parts": []}, "here: 'parts' is [], expected an object"),
        ({"parts": {"a\nb": 1}}, r"here: parts['a\nb'] is 1, expected two numbers"),
        ({"by_side": {"left": 3}}, "here: by_side['left'] is 3, expected an object"),
        (
            {"by_side": {"left": {"length": 1, "toes": 5}}},
            "here: by_side['left']: unknown keys ['toes']; expected ['feet', 'length']",
        ),
        ({"name": "x", "wings": 2, "horns": 1}, "here: unknown keys ['horns', 'wings']; expected"),
    ],
)
def test_every_problem_is_one_line(values: Any, line: str) -> None:
    with pytest.raises(BundleError) as caught:
        read_fields(Animal, values, "here")
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_lenient_drops_what_is_unknown_but_nothing_else() -> None:
    values = {"name": "x", "wings": 2, "front": {"length": 1, "toes": 5}}
    assert read_fields(Animal, values, "", lenient=True) == Animal(name="x", front=Leg(length=1.0))
    with pytest.raises(BundleError, match="'name' is 3"):
        read_fields(Animal, {"name": 3}, "here", lenient=True)
