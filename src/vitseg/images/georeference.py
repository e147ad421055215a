"""Where on earth a raster lies, as its file says it: kept in the label map that belongs to it. Needs rasterio."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any


@dataclass(frozen=True)
class Georeference:
    """What a raster file says of its place; a file may say several of these at once.

    Attributes:
        crs: rasterio's coordinate system of the map, or of the ground control points; None: unknown.
        transform: From (column, row) to map coordinates, as an `Affine`; None where the file has none.
        gcps: Ground control points: (row, column) of pixel corners and their map coordinates.
        rpcs: Rational polynomial coefficients: a camera's model from longitude, latitude and height to pixels.
    """

    crs: Any = None
    transform: Any = None
    gcps: tuple[Any, ...] = ()
    rpcs: Any = None

    def to_json(self) -> dict[str, Any]:
        """The same as JSON can hold it; see `from_json`."""
        return {
            "crs": None if self.crs is None else self.crs.to_wkt(),
            "transform": None if self.transform is None else list(self.transform)[:6],
            "gcps": [point.asdict() for point in self.gcps],
            "rpcs": None if self.rpcs is None else self.rpcs.to_dict(),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Georeference:
        """What `to_json` has given."""
        from affine import Affine
        from rasterio.control import GroundControlPoint
        from rasterio.crs import CRS
        from rasterio.rpc import RPC

        crs, transform, rpcs = (values[name] for name in ("crs", "transform", "rpcs"))
        return cls(
            None if crs is None else CRS.from_wkt(crs),
            None if transform is None else Affine(*transform),
            tuple(GroundControlPoint(**point) for point in values["gcps"]),
            None if rpcs is None else RPC(**rpcs),
        )

    def profile(self) -> dict[str, Any]:
        """What `rasterio.open` takes to write it. GeoTIFF holds a transform or points, never both."""
        from rasterio.crs import CRS

        values = {"crs": self.crs, "rpcs": self.rpcs, "transform": self.transform}
        if self.transform is None and self.gcps:
            values |= {
                "gcps": list(self.gcps),
                "crs": self.crs or CRS(),
            }  # points need one, if empty
        return {name: value for name, value in values.items() if value is not None}


def has_rasterio() -> bool:
    """Whether the extra `geo` is installed."""
    return find_spec("rasterio") is not None


def georeference_of(dataset: Any) -> Georeference | None:
    """What an open rasterio data set says of its place; None where it says nothing.

    Args:
        dataset: The data set. Where it has a transform, control points that it may have besides are left out.
    """
    transform = None if dataset.transform.is_identity else dataset.transform
    crs, gcps = dataset.crs, ()
    if transform is None:
        points, points_crs = dataset.gcps
        gcps = tuple(points)
        crs = (points_crs or crs) if gcps else crs
    crs = crs or None  # an empty one is none
    if crs is None and transform is None and not gcps and dataset.rpcs is None:
        return None
    return Georeference(crs, transform, gcps, dataset.rpcs)
