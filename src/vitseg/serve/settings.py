"""Limits and switches of the server."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
"""Formats of images that are decoded, by their first bytes and in Pillow's spelling."""


class ServeSettings(BaseModel):
    """What the server allows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_body: int = Field(default=32_000_000, ge=1, description="bytes of a request")
    max_pixels: int = Field(
        default=50_000_000, ge=1, description="pixels of an image, by its header"
    )
    max_requests: int = Field(
        default=64, ge=1, description="requests that are worked on or wait at a time"
    )
    max_waiting_pixels: int = Field(
        default=200_000_000, ge=1, description="pixels of all images that are worked on or wait"
    )
    timeout: float = Field(
        default=30.0,
        gt=0,
        description="seconds from the arrival of a request to its answer; a client may ask for less",
    )
    receive_timeout: float = Field(
        default=20.0, gt=0, description="seconds in which a request has to arrive as a whole"
    )
    send_timeout: float = Field(
        default=30.0,
        gt=0,
        description="seconds after which a client loses its answer if it read none of it meanwhile, or less than "
        "1,000 bytes a second",
    )
    grace: float = Field(
        default=30.0, gt=0, description="seconds that accepted requests get when the server ends"
    )
    max_batch: int = Field(default=4, ge=1, description="images of one size that are run together")
    batch_wait: float = Field(
        default=0.004,
        ge=0,
        description="seconds that an image waits for others which have arrived already",
    )
    max_polygons: int = Field(
        default=100_000,
        ge=1,
        description="polygons of an answer; ten times as many corners of these",
    )
    max_runs: int = Field(
        default=5_000_000, ge=1, description="runs of equal labels of an answer with run lengths"
    )
    api_keys: tuple[SecretStr, ...] = Field(
        default=(), description="one of these has to come with every request; none: no key is asked"
    )
    shows_docs: bool = Field(
        default=False, description="whether the description of the interface is a page, too"
    )
    shows_page: bool = Field(default=True, description="whether there is a page for people")
    label_studio_hosts: tuple[str, ...] = Field(
        default=(), description="HOST or HOST:PORT that images of Label Studio's tasks come from"
    )
    label_studio_private: bool = Field(
        default=False,
        description="whether these may be in a private network, or this machine itself",
    )

    @field_validator("api_keys")
    @classmethod
    def _no_empty_key(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(not key.get_secret_value().strip() for key in keys):
            raise ValueError("an API key is empty")
        return keys
