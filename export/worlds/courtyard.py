"""The demo's place: a courtyard of 12 x 10 m between painted façades."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.random import Generator

from edge_reloc.arrays import Array

from .altered import pushed, repaint
from .facade import Facade, Opening
from .lighting import bake_light
from .markings import graffiti, ink, litter, poster
from .textures import bricks, foliage, paving, planks, plaster, sky, stone, vary
from .world import Image, Quad, TextureMaker, World, WorldConfig, make_prism, make_quad

Size = tuple[float, float, float]

HALF_X_M, HALF_Y_M = 6.0, 5.0
PLASTERS = (
    (0.55, 0.72, 0.82), (0.62, 0.7, 0.72), (0.45, 0.58, 0.78), (0.66, 0.66, 0.6), (0.5, 0.68, 0.7),
)  # fmt: skip
# x, y, z of the foot and width, metres
CRATES = (
    (3.3, 4.2, 0.0, 0.6), (3.25, 4.15, 0.54, 0.42), (-5.2, -2.5, 0.0, 0.65),
    (0.6, -4.4, 0.0, 0.5), (-0.4, 4.5, 0.0, 0.45), (5.3, -2.4, 0.0, 0.7),
)  # fmt: skip
STAY = 2  # crates that stand where they stood in an altered courtyard, too
BRICKS = ((0.2, 0.28, 0.5), (0.28, 0.36, 0.52), (0.3, 0.42, 0.56))


def make_courtyard(config: WorldConfig) -> World:
    """Everything in the yard, lit; the same config gives the same bytes.

    Altered, the rest of it stays as it was, to the byte but for shadows.
    """
    rng = np.random.default_rng(config.seed)
    quads: list[Quad] = []
    sides = (
        ((-HALF_X_M, HALF_Y_M), (1, 0), 2 * HALF_X_M),  # north wall, seen from the south
        ((HALF_X_M, HALF_Y_M), (0, -1), 2 * HALF_Y_M),
        ((HALF_X_M, -HALF_Y_M), (-1, 0), 2 * HALF_X_M),
        ((-HALF_X_M, -HALF_Y_M), (0, 1), 2 * HALF_Y_M),
    )
    for index, (start, right, length_m) in enumerate(sides):
        quads += _side(rng, config, np.array(start), np.array(right, float), length_m, index)
    quads.append(_ground(rng, config))
    quads += _objects(rng, config)
    if config.altered:
        repaint(quads, config.altered, config.seed, config.texel_m)
    bake_light(quads, config.shadow_m)
    picture = np.clip(sky(rng) * 255, 0, 255).astype(np.uint8)
    return World(quads=quads, sky=picture)


def _ground(rng: Generator, config: WorldConfig) -> Quad:
    def texture(height: int, width: int) -> Image:
        image = paving(rng, height, width, config.texel_m)
        graffiti(rng, image, config.texel_m, 22)
        litter(rng, image, config.texel_m, 5.0)
        return image

    margin = 0.6  # the walls stand back in places
    corner = np.array([-HALF_X_M - margin, HALF_Y_M + margin, 0.0])
    along = np.array([2 * (HALF_X_M + margin), 0.0, 0.0])
    back = np.array([0.0, -2 * (HALF_Y_M + margin), 0.0])
    return make_quad(corner, along, back, texture, config.texel_m)


def _side(
    rng: Generator,
    config: WorldConfig,
    start: Array,
    right: Array,
    length_m: float,
    index: int,
) -> list[Quad]:
    """One side of the yard: two houses, the second set back a little."""
    quads: list[Quad] = []
    into = np.array([right[1], -right[0]])  # from the wall into the yard
    split = length_m * rng.uniform(0.42, 0.58)
    setback_m = rng.uniform(0.25, 0.5)
    for part, (a, b) in enumerate(((0.0, split), (split, length_m))):
        height_m, width_m = rng.uniform(5.0, 6.2), b - a
        foot = start + right * a - into * (setback_m if part else 0.0)
        brick = (index + part) % 2 == 0
        palette = BRICKS if brick else PLASTERS
        colour = vary(rng, palette[rng.integers(len(palette))], 0.08)
        wall = Facade(
            rng=rng, texel_m=config.texel_m, width_m=width_m, height_m=height_m,
            brick=brick, colour=colour, openings=_openings(rng, width_m, height_m),
        )  # fmt: skip
        corner = np.array([*foot, height_m])
        edge_u, down = np.array([*(right * width_m), 0.0]), np.array([0.0, 0.0, -height_m])
        quads.append(make_quad(corner, edge_u, down, wall.paint, config.texel_m))
        for opening in wall.openings:
            quads += _relief(rng, config, foot, right, into, opening)
        yaw = float(np.arctan2(right[1], right[0]))
        # End faces: of the first house towards the one that stands back, and
        # what closes the corner behind that one.
        end = start + right * b - (into * setback_m if part else 0.0)
        edge = np.array([*(into * setback_m), 0.0]) * (1 if part else -1)
        reveal = partial(bricks if brick else plaster, rng, texel_m=config.texel_m, colour=colour)
        quads.append(make_quad(np.array([*end, height_m]), edge, down, reveal, config.texel_m))
        cornice = partial(
            stone, rng, texel_m=config.texel_m, colour=vary(rng, (0.6, 0.62, 0.65), 0.1)
        )
        middle = foot + right * width_m / 2 + into * 0.09
        quads += make_prism(
            (middle[0], middle[1], height_m - 0.25), (width_m, 0.18, 0.35), yaw,
            cornice, cornice, config.texel_m, bottom=True,
        )  # fmt: skip
    return quads


def _openings(rng: Generator, width_m: float, height_m: float) -> list[Opening]:
    """A door and windows on the ground floor, windows above."""
    slots = max(2, int(width_m / 1.7))
    pitch = width_m / slots
    door = int(rng.integers(slots))
    openings = []
    for slot in range(slots):
        left = slot * pitch + 0.5 * pitch
        if slot == door:
            wide = rng.uniform(0.95, 1.15)
            openings.append(Opening(kind="door", x_m=left - wide / 2, z_m=0.0, width_m=wide,
                                    height_m=rng.uniform(2.05, 2.25)))  # fmt: skip
        elif rng.random() < 0.6:
            wide = rng.uniform(0.75, 1.05)
            openings.append(Opening(kind="window", x_m=left - wide / 2, z_m=rng.uniform(0.95, 1.1),
                                    width_m=wide, height_m=rng.uniform(1.0, 1.25)))  # fmt: skip
        wide = rng.uniform(0.8, 1.1)
        openings.append(Opening(kind="window", x_m=left - wide / 2, z_m=rng.uniform(3.05, 3.3),
                                width_m=wide, height_m=min(1.5, height_m - 3.9)))  # fmt: skip
    return openings


def _relief(
    rng: Generator,
    config: WorldConfig,
    foot: Array,
    right: Array,
    into: Array,
    o: Opening,
) -> list[Quad]:
    """What stands out of the wall at an opening: sill, shutters, awning, step."""
    texel, yaw = config.texel_m, float(np.arctan2(right[1], right[0]))
    rock = partial(stone, rng, texel_m=texel, colour=vary(rng, (0.55, 0.6, 0.63), 0.12))

    def box(
        x_m: float, z_m: float, out_m: float, size: Size, side: TextureMaker, top: TextureMaker
    ) -> list[Quad]:
        at = foot + right * x_m + into * (out_m + size[1] / 2)
        return make_prism((at[0], at[1], z_m), size, yaw, side, top, texel, bottom=z_m > 0.3)

    middle = o.x_m + o.width_m / 2
    if o.kind == "door":
        quads = box(middle, 0.0, 0.0, (o.width_m + 0.3, 0.35, 0.12), rock, rock)
        if rng.random() < 0.75:
            quads += _awning(rng, texel, foot, right, into, o)
        return quads
    quads = box(middle, o.z_m - 0.08, 0.0, (o.width_m + 0.24, 0.16, 0.08), rock, rock)
    if o.z_m < 2 and rng.random() < 0.7:  # flower box
        wood = partial(planks, rng, texel_m=texel, colour=vary(rng, (0.15, 0.25, 0.4), 0.15))
        leaves = partial(foliage, rng, texel_m=texel)
        quads += box(middle, o.z_m, 0.0, (o.width_m, 0.16, 0.15), wood, leaves)
        quads += box(middle, o.z_m + 0.15, 0.02, (o.width_m * 0.9, 0.12, 0.12), leaves, leaves)
    if rng.random() < 0.6:
        wood = partial(planks, rng, texel_m=texel, colour=vary(rng, ink(rng), 0.15))
        for x in (o.x_m - 0.24, o.x_m + o.width_m + 0.24):
            quads += box(x, o.z_m, 0.0, (0.42, 0.04, o.height_m), wood, wood)
    return quads


def _awning(
    rng: Generator, texel: float, foot: Array, right: Array, into: Array, o: Opening
) -> list[Quad]:
    colours = np.array([ink(rng), (0.88, 0.9, 0.9)], np.float32)

    def cloth(height: int, width: int) -> Image:
        stripe = (np.arange(width) * texel / 0.17).astype(int) % 2
        image = np.broadcast_to(colours[stripe], (height, width, 3)).copy()
        return np.asarray(image * (0.9 + 0.1 * plaster(rng, height, width, texel, (1.0, 1.0, 1.0))))

    wide, reach, z = o.width_m + 0.7, 0.75, o.height_m + 0.55
    left = foot + right * (o.x_m - 0.35)
    corner, along = np.array([*left, z]), np.array([*(right * wide), 0.0])
    slope = np.array([*(into * reach), -0.35])
    top = make_quad(corner, along, slope, cloth, texel)
    under = make_quad(corner + along, -along, slope, cloth, texel)
    front = make_quad(corner + slope, along, np.array([0, 0, -0.16]), cloth, texel)
    return [top, under, front]


def _objects(rng: Generator, config: WorldConfig) -> list[Quad]:
    """Free-standing things, between the walls and the walk around the yard."""
    texel = config.texel_m
    leaves = partial(foliage, rng, texel_m=texel)

    def rock() -> partial[Image]:
        return partial(stone, rng, texel_m=texel, colour=vary(rng, (0.5, 0.55, 0.6), 0.15))

    def wood() -> partial[Image]:
        return partial(planks, rng, texel_m=texel, colour=vary(rng, (0.22, 0.36, 0.52), 0.2))

    def papered(height: int, width: int) -> Image:
        return poster(rng, height, width)

    def box(x: float, y: float, z: float, size: Size, yaw: float, side: TextureMaker,
            top: TextureMaker | None, sides: int = 4) -> None:  # fmt: skip
        over = sides == 4 and z > 0.3
        quads.extend(make_prism((x, y, z), size, yaw, side, top, texel, sides=sides, bottom=over))

    quads: list[Quad] = []
    # Fountain: basin, pillar, bowl.
    box(0.0, 0.1, 0.0, (1.5, 1.5, 0.5), 0.3, rock(), rock(), sides=8)
    box(0.0, 0.1, 0.5, (0.34, 0.34, 0.8), 0.1, rock(), None, sides=8)
    box(0.0, 0.1, 1.2, (0.8, 0.8, 0.18), 0.5, rock(), rock(), sides=8)
    # Kiosk with a flat roof, and an advertising column.
    box(4.6, 3.5, 0.0, (1.5, 1.2, 2.1), -0.45, papered, None)
    box(4.6, 3.5, 2.1, (1.9, 1.6, 0.16), -0.45, wood(), rock())
    box(-4.7, 3.6, 0.0, (0.8, 0.8, 2.4), 0.2, papered, rock(), sides=8)
    for x, y, height in ((-4.6, -1.2, 2.9), (-4.9, 1.2, 2.9), (4.9, -1.0, 2.6)):  # pillars
        box(x, y, 0.0, (0.55, 0.55, 0.25), 0.4, rock(), rock())
        box(x, y, 0.25, (0.38, 0.38, height), 0.0, rock(), None, sides=8)
        box(x, y, height + 0.25, (0.6, 0.6, 0.2), 0.4, rock(), rock())
    for x, y, yaw in ((1.2, 4.2, 0.05), (-1.6, -4.3, -0.08), (5.2, 0.9, 1.5)):  # benches
        box(x, y, 0.4, (1.5, 0.4, 0.07), yaw, wood(), wood())
        for offset in (-0.6, 0.6):
            leg_x, leg_y = x + offset * np.cos(yaw), y + offset * np.sin(yaw)
            box(leg_x, leg_y, 0.0, (0.12, 0.36, 0.4), yaw, rock(), None)
    for x, y, size in ((-4.8, -3.9, 0.9), (-2.6, 4.3, 0.7), (2.4, -4.3, 0.8), (4.9, -3.8, 1.0)):
        box(x, y, 0.0, (size, size, 0.5), rng.uniform(0, 1.5), rock(), leaves)  # planter
        for _ in range(5):  # and its bush
            aside = rng.uniform(-0.28, 0.28, 2) * size
            edge, z = size * rng.uniform(0.35, 0.6), 0.45 + rng.uniform(0, 0.4)
            cube = (edge, edge, edge)
            box(x + aside[0], y + aside[1], z, cube, rng.uniform(0, 1.5), leaves, leaves)
    for index, (x, y, z, edge) in enumerate(CRATES):
        if config.altered and index >= STAY:
            x, y = pushed(x, y, 1.2)
        box(x, y, z, (edge, edge * 1.1, edge * 0.9), rng.uniform(0, 1.5), wood(), wood())
    return quads
