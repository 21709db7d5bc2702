"""The final pose under each form of the networks, method by method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from edge_reloc.bundle import MapBundle
from edge_reloc.evaluation.chosen import parse_method
from edge_reloc.inference.acceleration import choose_acceleration
from edge_reloc.methods import Settings
from edge_reloc.methods.assemble import OpenEngines
from edge_reloc.structs import Frame

from .change import compare
from .frames import localise
from .rounded_engine import RoundedEngines

JUDGED = ("float16", "tensorrt")  # forms that a device may run


def compare_poses(
    bundle: MapBundle,
    frames: Sequence[Frame],
    methods: Sequence[str],
    programs: dict[str, Path],
    rounded: dict[str, Path],
    threads: int,
    show: Callable[[str], None],
) -> list[dict[str, Any]]:
    """One row for each method and form, as JSON-ready dictionaries.

    The reference is torch where `programs` are given, ONNX float32 otherwise; ONNX
    float32 against torch then shows how much of a change is not float16's doing, and
    another seed of the solver how firm the poses stand in the first place.
    rounded: the float16 networks as `write_rounded` leaves them. Where there is a GPU and
    the map has engines, they are a form too, with matching on the GPU.
    """
    rows = []
    for text in methods:
        base = parse_method(text, Settings(threads=threads, calibration_check=False)).settings
        results = {}
        for form, settings, engines in _forms(bundle, base, programs, rounded):
            results[form] = localise(
                bundle,
                frames,
                settings,
                engines,
                partial(_show, show, f"{text}, {form}"),
            )
        reference, *others = results
        for form in others:
            change = compare(results[reference], results[form])
            rows.append(
                {
                    "method": text,
                    "form": form,
                    "reference_ok": sum(r.status.value == "OK" for r in results[reference]),
                    **change.to_json(),
                    "broken_limits": change.broken_limits() if form in JUDGED else [],
                }
            )
    return rows


def _forms(
    bundle: MapBundle, base: Settings, programs: dict[str, Path], rounded: dict[str, Path]
) -> list[tuple[str, Settings, OpenEngines | None]]:
    """Name, settings and engines of each form, the reference first."""
    on_gpu = replace(base, engine=None)
    base = replace(base, engine="onnxruntime")
    forms: list[tuple[str, Settings, OpenEngines | None]] = []
    if programs:
        from .torch_engine import TorchEngines

        forms.append(("torch float32", base, partial(TorchEngines, programs)))
    float32 = replace(base, precision="float32")
    forms.append(("onnx float32", float32, None))
    forms.append(("float32, other seed", replace(float32, seed=base.seed + 1), None))
    forms.append(("float16", base, partial(RoundedEngines, rounded)))
    if choose_acceleration(bundle, on_gpu).engine == "tensorrt":
        forms.append(("tensorrt", on_gpu, None))
    return forms


def _show(show: Callable[[str], None], what: str, done: int) -> None:
    show(f"{what}: {done} frames")
