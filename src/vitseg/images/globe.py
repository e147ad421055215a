"""Polygons on the globe as RFC 7946 wants them: cut at the 180th meridian, closed over poles, rings turned.

Longitude is taken as the way around a cylinder, which is slit at the 180th meridian. Rings are cut there into chains,
whose ends are joined along the slit wherever the polygon is on both sides of it (section 3.1.9).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

Ring = Float64[np.ndarray, "_ 2"]
"""Points of a closed line; the last is the first again."""

DIGITS = 8
"""Of a degree: about a millimetre."""


def geometry_of(rings: list[Ring]) -> dict[str, Any] | None:
    """A polygon, or several where it is cut, as a GeoJSON geometry; None where it has no area.

    Args:
        rings: Its outer ring and its holes, longitudes and latitudes in degrees, the polygon on the left of each.
            Longitudes need not be continuous, but from a point to the next it is the shorter way.
    """
    chains, closed, crossings = _cut(rings)
    if chains:
        closed += _joined(chains, crossings)
    polygons = _nested(closed)
    if not polygons:
        return None
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def signed_area(ring: Ring) -> float:
    """Area in the plane of the coordinates; positive where the ring runs anticlockwise."""
    x, y = (ring - ring[0]).T
    return float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])) / 2


def unwound(longitudes: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """The same longitudes without jumps: from each to the next on the shorter way."""
    turns = np.diff(longitudes)
    return longitudes[0] + np.concatenate([[0.0], np.cumsum((turns + 180) % 360 - 180)])


@dataclass(frozen=True)
class _Chain:
    """A part of a ring from one crossing of the slit to the next, within [-180, 180].

    Attributes:
        points: Its points, both crossings included.
        start: Number of the crossing and side of the slit, 1 (east of the chain) or -1.
        end: Likewise.
    """

    points: Ring
    start: tuple[int, int]
    end: tuple[int, int]


@dataclass(frozen=True)
class _Crossing:
    """Where a ring crosses the slit: how far north, and whether eastwards (1) or westwards (-1)."""

    latitude: float
    direction: int


def _cut(rings: list[Ring]) -> tuple[list[_Chain], list[Ring], list[_Crossing]]:
    """Chains, the rings that do not cross the slit, and the crossings."""
    chains: list[_Chain] = []
    closed: list[Ring] = []
    crossings: list[_Crossing] = []
    for ring in rings:
        x, y = unwound(ring[:, 0]), ring[:, 1]
        x = np.where(np.abs(x - np.rint(x)) < 1e-9, np.rint(x), x)  # 180 itself, not almost
        turn = np.floor((x + 180) / 360).astype(int)
        within = np.column_stack([x - 360 * turn, y])
        (cuts,) = np.diff(turn).nonzero()
        if not len(cuts):
            closed.append(within)
            continue
        first = len(crossings)
        for at in cuts:
            slit = 360 * max(turn[at], turn[at + 1]) - 180
            latitude = y[at] + (slit - x[at]) / (x[at + 1] - x[at]) * (y[at + 1] - y[at])
            crossings.append(_Crossing(float(latitude), int(turn[at + 1] - turn[at])))
        for number in range(len(cuts)):
            following = (number + 1) % len(cuts)
            here, there = crossings[first + number], crossings[first + following]
            start = (first + number, -here.direction)
            end = (first + following, there.direction)
            begin, num_points = cuts[number] + 1, len(x) - 1  # the last point is the first
            inner = (begin + np.arange((cuts[following] - begin) % num_points + 1)) % num_points
            ends = ([180.0 * start[1], here.latitude], [180.0 * end[1], there.latitude])
            chains.append(_Chain(np.vstack([ends[0], within[inner], ends[1]]), start, end))
    return chains, closed, crossings


def _partners(crossings: list[_Crossing], net_turns: int) -> dict[int, int | None]:
    """The crossing at the other end of the slit's part within the polygon; None where that end is a pole.

    The polygon lies on the left of its rings: north of one that runs east.
    """
    order = sorted(range(len(crossings)), key=lambda number: crossings[number].latitude)
    wanted = -1 if net_turns < 0 else 1
    for place in range(len(order)):  # of several at one latitude, first the one whose turn it is
        for other in range(place, len(order)):
            same = crossings[order[other]].latitude == crossings[order[place]].latitude
            if not same or crossings[order[other]].direction == wanted:
                break
        if crossings[order[other]].direction == wanted and same:
            order.insert(place, order.pop(other))
        wanted = -crossings[order[place]].direction
    partners: dict[int, int | None] = {}
    for place, number in enumerate(order):
        other = place + crossings[number].direction
        partners[number] = order[other] if 0 <= other < len(order) else None
    return partners


def _joined(chains: list[_Chain], crossings: list[_Crossing]) -> list[Ring]:
    """Rings of chains, joined along the slit and over poles."""
    partners = _partners(crossings, sum(crossing.direction for crossing in crossings))
    starts = {chain.start: chain for chain in chains}
    rings: list[Ring] = []
    while starts:
        chain: _Chain | None = starts.pop(next(iter(starts)))
        parts: list[Any] = [chain.points[:1]]
        while chain is not None:
            parts.append(chain.points)
            number, side = chain.end
            partner = partners[number]
            if partner is None:
                pole = 90.0 * crossings[number].direction
                parts.append([[180.0 * side, pole], [-180.0 * side, pole]])
                partner, side = number, -side
            chain = starts.pop((partner, side), None)
        rings.append(np.vstack([*parts, parts[0]]))
    return rings


def _nested(rings: list[Ring]) -> list[list[list[list[float]]]]:
    """Polygons of outer rings, which run anticlockwise, and holes, which run clockwise."""
    outers: list[list[Ring]] = []
    holes: list[Ring] = []
    for ring in map(_rounded, rings):
        area = signed_area(ring)
        if area > 0:
            outers.append([ring])
        elif area < 0:
            holes.append(ring)
    for hole in holes:
        around = [
            outer for outer in outers if len(outers) == 1 or _share_within(hole, outer[0]) > 0.5
        ]
        if around:
            min(around, key=lambda outer: signed_area(outer[0])).append(hole)
    return [[ring.tolist() for ring in outer] for outer in outers]


def _rounded(ring: Ring) -> Ring:
    """The ring with DIGITS digits, and without points that are thereby the same as the one before."""
    ring = ring.round(DIGITS) + 0.0  # no -0.0
    keep = np.concatenate([[True], (np.diff(ring, axis=0) != 0).any(axis=1)])
    return ring[keep]


def _share_within(points: Ring, ring: Ring) -> float:
    """The share of the points that lie within a ring."""
    x, y = points[:, :1], points[:, 1:]  # (n, 1)
    (x0, y0), (x1, y1) = ring[:-1].T, ring[1:].T  # (m,)
    with np.errstate(divide="ignore", invalid="ignore"):
        east = x < x0 + (y - y0) / (y1 - y0) * (x1 - x0)  # (n, m)
    crossed = ((y0 > y) != (y1 > y)) & east
    return float((crossed.sum(axis=1) % 2).mean())
