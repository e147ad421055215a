"""Images of Label Studio's tasks, which may lie anywhere that whoever wrote the task has thought of.

So they are fetched from listed hosts alone, without redirects, within bounds of size and time, and from an address that
is looked up once: what is looked at is what is connected to.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import socket
import ssl
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes, urlsplit

import h11
from pydantic import BaseModel, ConfigDict, Field, field_validator

from vitseg.errors import ConfigError, DataError

_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_CHUNK = 65536


class Address(NamedTuple):
    """The parts of an address that are looked at and used."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port


def address_of(url: str) -> Address:
    """The parts of an address.

    Raises:
        ConfigError: It is no plain http or https address.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{url[:200]!r} is no address of an image: {error}.") from error
    if parts.scheme not in _PORTS or not parts.hostname or not parts.hostname.isascii():
        raise ConfigError(
            f"{url[:200]!r} is not fetched: images come by http:// or https:// from hosts with plain names."
        )
    if "@" in parts.netloc or "\\" in url:
        raise ConfigError(
            f"{url[:200]!r} is not fetched: no user, password or backslash may be in it."
        )
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    if parts.query:
        target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    return Address(parts.scheme, parts.hostname.rstrip("."), port or _PORTS[parts.scheme], target)


class LabelStudioSettings(BaseModel):
    """Where the images of tasks may lie."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hosts: tuple[str, ...] = Field(
        default=(),
        description="hosts that images are fetched from, as host (at the usual port) or host:port; the first is Label "
        "Studio itself",
    )
    url: str | None = Field(
        default=None,
        description="address of Label Studio, as http://localhost:8080: its uploads and local files are there. Without "
        "it, that of the first host: by https where it has no port, or 443 or 8443, else by http",
    )
    allow_private: bool = Field(
        default=False,
        description="whether these hosts may be in a private network, or this very machine",
    )
    max_bytes: int = Field(default=50_000_000, gt=0, description="bytes of an image at most")
    timeout: float = Field(default=30.0, gt=0, description="seconds for fetching an image")

    @field_validator("url")
    @classmethod
    def _an_origin(cls, url: str | None) -> str | None:
        if url is not None:
            address_of(url)
        return url

    @field_validator("hosts")
    @classmethod
    def _hosts_alone(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if "/" in host or "@" in host or "*" in host:
                raise ValueError(f"{host!r} is no host: write host or host:port, without http://")
            address_of(f"http://{host}")
        return hosts

    @property
    def studio(self) -> Address | None:
        """Label Studio itself; None: it is not known."""
        if self.url is not None:
            return address_of(self.url)
        if not self.hosts:
            return None
        port = urlsplit(f"//{self.hosts[0]}").port
        scheme = "https" if port in (None, 443, 8443) else "http"
        return address_of(f"{scheme}://{self.hosts[0]}")

    def allows(self, address: Address) -> bool:
        """Whether images are fetched from there."""
        if self.studio is not None and self.studio.origin == address.origin:
            return True
        for entry in self.hosts:
            listed = urlsplit(f"//{entry}")
            port = listed.port or _PORTS[address.scheme]
            if (listed.hostname, port) == (address.host, address.port):
                return True
        return False


class Fetcher:
    """Gets the images of tasks.

    Args:
        settings: From where.
        token: Sent to Label Studio itself, and to nobody else; None: nothing is sent.
    """

    def __init__(self, settings: LabelStudioSettings, token: str | None = None):
        self.settings = settings
        self._token = token

    async def __call__(self, place: str) -> bytes:
        """The content of an image.

        Args:
            place: What a task says: an address, a path below Label Studio's (`/data/upload/1/a.jpg`,
                `/data/local-files/?d=a.jpg`), or a `data:` address. Never a path on this machine's disk.

        Raises:
            ConfigError: It is not fetched from there.
            DataError: It is too large, takes too long, or what comes is no plain answer.
            OSError: There is no connection.
        """
        if place[:5].lower() == "data:":
            return await asyncio.to_thread(self._inline, place)  # tens of MB may be spelt out
        address = address_of(self._absolute(place))
        if not self.settings.allows(address):
            raise ConfigError(
                f"images are not fetched from {address.host}:{address.port}: the operator lists the hosts."
            )
        try:
            async with asyncio.timeout(self.settings.timeout):
                return await self._get(address, await self._look_up(address))
        except TimeoutError as error:
            seconds = self.settings.timeout
            raise DataError(f"the image did not come within {seconds:g} seconds.") from error

    def _absolute(self, place: str) -> str:
        if not place.startswith("/"):
            return place
        studio = self.settings.studio
        if studio is None or place.startswith("//"):
            raise ConfigError(
                f"{place[:200]!r} lies on Label Studio itself, whose address the operator has not set."
            )
        name = f"[{studio.host}]" if ":" in studio.host else studio.host
        return f"{studio.scheme}://{name}:{studio.port}{place}"

    def _inline(self, place: str) -> bytes:
        head, comma, content = place.partition(",")
        if not comma or not head[5:].lower().startswith("image/"):
            raise DataError(
                "a data: address that holds no image: data:image/png;base64,... is read."
            )
        if len(content) > 3 * self.settings.max_bytes:  # every byte may be spelt %00
            raise self._too_large()
        try:
            is_base64 = head.lower().endswith(";base64")
            plain = unquote_to_bytes(content)
            data = base64.b64decode(plain, validate=True) if is_base64 else plain
        except (binascii.Error, ValueError) as error:
            raise DataError(f"a data: address cannot be read: {error}.") from error
        if len(data) > self.settings.max_bytes:
            raise self._too_large()
        return data

    async def _look_up(self, address: Address) -> list[str]:
        """The numeric addresses of a host.

        Raises:
            ConfigError: One of them may not be used.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        numbers = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        is_literal = _is_number(address.host)
        for number in numbers:
            if not _may_use(number, self.settings.allow_private, is_literal):
                raise ConfigError(
                    f"{address.host} is at {number}, which is no public address: the operator may allow private ones."
                )
        return numbers

    async def _get(self, address: Address, numbers: list[str]) -> bytes:
        reader, writer = await _connect(address, numbers)
        try:
            connection = h11.Connection(h11.CLIENT)
            writer.write(connection.send(self._request(address)) or b"")
            writer.write(connection.send(h11.EndOfMessage()) or b"")
            await writer.drain()
            return await self._body(connection, reader)
        except h11.ProtocolError as error:
            raise DataError(f"{address.host} does not speak HTTP: {error}.") from error
        finally:
            writer.transport.abort()  # without a farewell, which might take long

    def _request(self, address: Address) -> h11.Request:
        name = f"[{address.host}]" if ":" in address.host else address.host
        usual = _PORTS[address.scheme] == address.port
        headers = [
            ("Host", name if usual else f"{name}:{address.port}"),
            ("Accept", "image/*"),
            ("Accept-Encoding", "identity"),
            ("User-Agent", "vitseg"),
            ("Connection", "close"),
        ]
        studio = self.settings.studio
        if self._token and studio is not None and studio.origin == address.origin:
            headers.append(("Authorization", f"Token {self._token}"))
        return h11.Request(method="GET", target=address.target, headers=headers)

    async def _body(self, connection: h11.Connection, reader: asyncio.StreamReader) -> bytes:
        content = bytearray()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(_CHUNK))
            elif isinstance(event, h11.Response):
                self._require_image(event)
            elif isinstance(event, h11.Data):
                content += event.data
                if len(content) > self.settings.max_bytes:
                    raise self._too_large()
            elif isinstance(event, h11.EndOfMessage):
                return bytes(content)
            elif isinstance(event, h11.ConnectionClosed):
                raise DataError("the connection was closed before the image came.")

    def _require_image(self, response: h11.Response) -> None:
        if response.status_code != 200:
            kind = "redirects, which are not followed" if 300 <= response.status_code < 400 else ""
            raise DataError(
                f"the image's host answers {response.status_code} {kind}".rstrip() + "."
            )
        for name, value in response.headers:
            if name == b"content-length" and int(value) > self.settings.max_bytes:
                raise self._too_large()
            if name == b"content-encoding" and value.lower() != b"identity":
                raise DataError("the image comes compressed, which was not asked for.")

    def _too_large(self) -> DataError:
        return DataError(f"the image has more than {self.settings.max_bytes:,} bytes.")


async def _connect(
    address: Address, numbers: list[str]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first of a host's addresses that takes one."""
    context = ssl.create_default_context() if address.scheme == "https" else None
    name = address.host if context is not None else None
    for number in numbers[:-1]:
        try:
            return await asyncio.open_connection(
                number, address.port, ssl=context, server_hostname=name
            )
        except OSError:
            continue
    return await asyncio.open_connection(
        numbers[-1], address.port, ssl=context, server_hostname=name
    )


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _may_use(number: str, allow_private: bool, is_literal: bool) -> bool:
    """Whether a listed host at this address may be connected to.

    Where private addresses are allowed, link-local ones are still not for a host with a name: in clouds the machine's
    own credentials are there.
    """
    ip = ipaddress.ip_address(number.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(ip.packed[-4:])
        ip = inner or ip
    if ip.is_multicast or ip.is_unspecified or ip.is_reserved:
        return False
    if ip.is_link_local:
        return allow_private and is_literal
    return ip.is_global or allow_private
