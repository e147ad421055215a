"""From pixels to longitude and latitude: by a map's coordinate system, by control points, by a camera's model."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from vitseg.errors import DataError
from vitseg.images.georeference import Georeference
from vitseg.images.notices import about
from vitseg.types import Size

WGS84 = "EPSG:4326"

PROBES = 33
"""Points along each side of the grid that is tried before anything is computed."""

MOST_SPLINE_POINTS = 500
"""Control points that a thin plate spline goes through; its cost grows with their third power. More of them get
GDAL's polynomial of the second order."""

LONGEST_STEP = 256.0
"""Pixels that a straight edge may have on the map. On the globe it is a curve."""

WIDEST_STEP = 20.0
"""Degrees of longitude that an edge may have, so that its way around the globe is never in doubt."""

Points = tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]

_log = logging.getLogger("vitseg")


@dataclass(frozen=True)
class Placement:
    """How the pixels of an image lie on the globe.

    Attributes:
        locate: From columns and rows of pixel corners to longitudes and latitudes in degrees, WGS84. Points outside
            the domain raise DataError; longitudes may pass 180, and some ways of placing jump there by 360.
        step: Pixels that an edge may have at most.
        mirrored: Whether what runs from columns to rows the short way runs clockwise on the globe; it does where north
            is up.
        around_poles: Whether a pole may be a point within the image. On a map in longitudes and latitudes it is a line.
    """

    locate: Callable[[np.ndarray, np.ndarray], Points]
    step: float
    mirrored: bool
    around_poles: bool


def place(georeference: Georeference | None, size: Size, name: str) -> Placement | None:
    """How an image is placed, tried out on a grid of its pixels.

    The coordinate system and transform come first, then control points, then rational polynomials; the latter at their
    own mean height, which is logged.

    Args:
        georeference: What the file says.
        size: (height, width) of the image.
        name: What errors call it.

    Returns:
        None where nothing says where the image lies: its polygons are in pixels, which is logged if it says a part.

    Raises:
        DataError: The file says where it lies, but that cannot be turned into longitude and latitude.
    """
    if georeference is None:
        return None
    locate = _locator(georeference, size, name)
    if locate is None:
        _log.info(
            "%s has no coordinate system with a place in it: its polygons are in pixels.",
            name,
            extra=about(name),
        )
        return None
    step = _step(locate, size, name)
    around_poles = georeference.crs is None or not georeference.crs.is_geographic
    return Placement(_on_earth(locate, name), step, _is_mirrored(locate, size), around_poles)


def _locator(georeference: Georeference, size: Size, name: str) -> Callable[..., Points] | None:
    crs = georeference.crs
    if georeference.transform is not None and crs is not None:
        return _by_map(crs, georeference.transform, size, name)
    if georeference.gcps and crs is not None:
        return _by_points(crs, georeference.gcps, size, name)
    if georeference.rpcs is not None:
        return _by_camera(georeference.rpcs, name)
    return None


def _by_map(crs: Any, transform: Any, size: Size, name: str) -> Callable[..., Points]:
    if not np.isfinite(transform[:6]).all() or transform.determinant == 0:
        raise _refusal(name, "its transform from pixels to map coordinates has no area")

    return _through(lambda columns, rows: _apply(transform, columns, rows), crs, size, name)


def _by_points(crs: Any, gcps: tuple[Any, ...], size: Size, name: str) -> Callable[..., Points]:
    from rasterio.control import GroundControlPoint
    from rasterio.transform import GCPTransformer

    known = np.array([(point.col, point.row, point.x, point.y) for point in gcps], dtype=np.float64)
    if not np.isfinite(known).all() or not _spread(known[:, :2]) or not _spread(known[:, 2:]):
        raise _refusal(name, f"its {len(gcps)} ground control points do not span an area")
    if crs.is_geographic and np.ptp(known[:, 2]) > 180:  # on both sides of the 180th meridian
        known[:, 2] %= 360
    points = [GroundControlPoint(row=row, col=column, x=x, y=y) for column, row, x, y in known]
    try:
        transformer = GCPTransformer(points, tps=len(points) <= MOST_SPLINE_POINTS)
    except _gdal_errors() as error:
        raise _refusal(name, f"its ground control points do not fit together ({error})") from error

    def to_map(columns: np.ndarray, rows: np.ndarray) -> Points:
        x, y = transformer.xy(rows, columns, offset="ul")
        return np.asarray(x, np.float64), np.asarray(y, np.float64)

    return _through(to_map, crs, size, name)


def _by_camera(rpcs: Any, name: str) -> Callable[..., Points]:
    from rasterio.errors import TransformWarning
    from rasterio.transform import RPCTransformer

    try:
        transformer = RPCTransformer(rpcs, rpc_height=rpcs.height_off)
    except _gdal_errors() as error:
        raise _refusal(name, f"its rational polynomials (RPCs) do not hold ({error})") from error
    _log.info(
        "%s is placed by its rational polynomials (RPCs) at the height %g m: hills and valleys shift its polygons.",
        name,
        rpcs.height_off,
        extra=about(name),
    )

    def locate(columns: np.ndarray, rows: np.ndarray) -> Points:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", TransformWarning)  # what fails is told below
                x, y = transformer.xy(rows, columns, offset="ul")
        except _gdal_errors() as error:
            raise _refusal(
                name, f"its rational polynomials (RPCs) do not hold ({error})"
            ) from error
        return np.asarray(x, np.float64), np.asarray(y, np.float64)

    return locate


def _apply(transform: Any, x: np.ndarray, y: np.ndarray) -> Points:
    a, b, c, d, e, f = transform[:6]
    return a * x + b * y + c, d * x + e * y + f


def _through(
    to_map: Callable[..., Points], crs: Any, size: Size, name: str
) -> Callable[..., Points]:
    """From pixels by way of a map, if that holds everywhere in the image."""
    if not (crs.is_geographic or crs.is_projected):
        raise _refusal(
            name,
            f'its coordinate system "{_called(crs)}" is local: it has no way to longitude and latitude',
        )
    _require_return(to_map, crs, _grid(size), name)
    return lambda columns, rows: _transformed(crs, WGS84, *to_map(columns, rows), name)


def _transformed(start: Any, end: Any, x: np.ndarray, y: np.ndarray, name: str) -> Points:
    from rasterio.warp import transform

    crs = end if start == WGS84 else start
    try:
        found = np.array(transform(start, end, x, y)[:2])
    except _gdal_errors() as error:
        text = str(error).lower()
        if "domain" in text or "reprojection" in text:
            raise _refusal(name, _outside(crs)) from error
        raise _refusal(
            name, f'no way from its coordinate system "{_called(crs)}" to the earth\'s is known'
        ) from error
    if not np.isfinite(found).all():
        raise _refusal(name, _outside(crs))
    return found[0], found[1]


def _grid(size: Size) -> Points:
    """Columns and rows of the points that are tried."""
    columns, rows = np.meshgrid(np.linspace(0, size[1], PROBES), np.linspace(0, size[0], PROBES))
    return columns.ravel(), rows.ravel()


def _require_return(to_map: Callable[..., Points], crs: Any, grid: Points, name: str) -> None:
    """Far outside its domain, a projection may still give numbers; they do not lead back.

    What differs by whole turns around the globe does: maps may go on past the 180th meridian. Ways between datums may
    differ by some metres there and back.
    """
    x, y = to_map(*grid)
    again_x, again_y = _transformed(WGS84, crs, *_transformed(crs, WGS84, x, y, name), name)
    aside, up = np.abs(again_x - x), np.abs(again_y - y)
    near = 0.01 if crs.is_geographic else 1000 / crs.linear_units_factor[1]
    near = max(near, (np.ptp(x) + np.ptp(y)) / 1000)
    turned = aside[aside > near]
    turn = turned.min(initial=np.inf)
    whole_turns = np.abs(turned - np.rint(turned / turn) * turn) <= near
    if not ((up <= near).all() and whole_turns.all()):
        raise _refusal(name, _outside(crs))


def _on_earth(locate: Callable[..., Points], name: str) -> Callable[..., Points]:
    """The same, with latitudes a little beyond a pole (half pixels of global grids) laid on it."""

    def checked(columns: np.ndarray, rows: np.ndarray) -> Points:
        longitudes, latitudes = locate(columns, rows)
        if not (np.isfinite(longitudes).all() and np.isfinite(latitudes).all()):
            raise _refusal(name, "some of its pixels are no place on earth")
        return longitudes, latitudes.clip(-90, 90)

    return checked


def _step(locate: Callable[..., Points], size: Size, name: str) -> float:
    """Pixels that an edge may have; the points that are tried lie along all borders and within.

    Raises:
        DataError: One of them is no place on earth.
    """
    longitudes, latitudes = locate(*_grid(size))
    if not (np.isfinite(longitudes).all() and np.isfinite(latitudes).all()):
        raise _refusal(name, "some of its pixels are no place on earth")
    grid = latitudes.reshape(PROBES, PROBES)
    pixel = max(float(np.abs(np.diff(grid, axis=axis)).max()) for axis in (0, 1))
    pixel *= (PROBES - 1) / min(size)  # degrees of latitude at most
    if np.abs(latitudes).max() > 90 + pixel:
        raise _refusal(
            name, f"it reaches the latitude {latitudes[np.abs(latitudes).argmax()]:.6g}, beyond 90"
        )
    turns = np.abs(np.diff(longitudes.reshape(PROBES, PROBES), axis=1)) % 360
    per_pixel = float(np.median(np.minimum(turns, 360 - turns))) * (PROBES - 1) / size[1]
    return min(LONGEST_STEP, WIDEST_STEP / per_pixel) if per_pixel else LONGEST_STEP


def _is_mirrored(locate: Callable[..., Points], size: Size) -> bool:
    """From the pixel right of the middle, so that a pole in the middle is no vertex."""
    row, column = size[0] / 2, size[1] / 2 + size[1] / 7
    part = min(size) / 1000
    columns = np.array([column, column + part, column])
    rows = np.array([row, row, row + part])
    x, y = locate(columns, rows)
    right, down = (x[1:] - x[0] + 180) % 360 - 180, y[1:] - y[0]
    return bool(right[0] * down[1] - right[1] * down[0] < 0)


def _spread(points: np.ndarray) -> bool:
    """Whether points are on no common line."""
    centred = points - points.mean(axis=0)
    strengths = np.linalg.svd(centred, compute_uv=False)
    return len(points) >= 3 and bool(strengths[-1] > 1e-9 * strengths[0])


def _outside(crs: Any) -> str:
    return f'it reaches outside the area in which its coordinate system "{_called(crs)}" holds'


def _called(crs: Any) -> str:
    """The name of a coordinate system."""
    words = crs.to_wkt().split('"')
    return words[1] if len(words) > 1 else str(crs)


def _refusal(name: str, reason: str) -> DataError:
    return DataError(
        f"{name}: no polygons can be made, since {reason}. Segment it without polygons, or mend its place first: "
        "gdalwarp -t_srs EPSG:4326 cuts it to where it holds, gdal_edit.py -a_srs names the right coordinate system."
    )


def _gdal_errors() -> tuple[type[Exception], ...]:
    """What rasterio raises, GDAL's own errors among it, which its public classes leave out."""
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    return RasterioError, CPLE_BaseError
