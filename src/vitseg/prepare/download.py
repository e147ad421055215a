"""One file over http: continued after an interruption, checked at the end."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vitseg import parsing
from vitseg.errors import DataError
from vitseg.prepare.jobs import OnProgress, no_progress

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as lost."""

ATTEMPTS = 5
"""Attempts in a row without a new byte, after which the download is given up."""

PAUSE = 1.0
"""Seconds before the second attempt; doubled before each further one."""

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Download:
    """A file that a data set's official page offers.

    Attributes:
        url: Address of the file.
        digest: The file's published checksum as `sha1:HEX` (md5, sha1 or sha256); empty if none is known for certain.
    """

    url: str
    digest: str = ""

    @property
    def name(self) -> str:
        """Name of the file."""
        return unquote(urlsplit(self.url).path.rsplit("/", 1)[-1])


def fetch(
    download: Download,
    folder: Path,
    say: Callable[[str], None],
    on_progress: OnProgress = no_progress,
) -> Path:
    """The downloaded file; what is there already is not downloaded again.

    An interrupted download is continued (HTTP Range) if the server says that the file is still the same (If-Range),
    and else starts again. The whole file must have the published checksum. Where there is none, its SHA-256 is said
    and written beside it, in the format of `sha256sum`, and must be the same the next time.

    Args:
        download: The file to get.
        folder: Folder that it is put into; made if it does not exist.
        say: Called with a line that is worth knowing.
        on_progress: Called with the bytes that are there and those of the whole file, see `OnProgress`.

    Raises:
        DataError: The server cannot be reached, refuses or gives up; the file has another checksum; or the disk is too
            small.
    """
    path = folder / download.name
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{download.name}.partial"
        _download(download, partial, on_progress)
        _verify(download, partial, path, say, on_progress)
        os.replace(partial, path)
        _state_file(partial).unlink(missing_ok=True)
    else:
        _verify(download, path, path, say, on_progress)
    return path


def _verify(
    download: Download,
    file: Path,
    path: Path,
    say: Callable[[str], None],
    on_progress: OnProgress,
) -> None:
    """Compare the checksum of `file`, which is or becomes `path`, with the published or recorded one."""
    record = path.with_name(f"{path.name}.sha256")
    algorithm, _, wanted = download.digest.partition(":")
    if not algorithm:
        algorithm = "sha256"
        # what a former download had says nothing about a new one
        wanted = (
            record.read_text(encoding="utf-8").split()[0]
            if file == path and record.is_file()
            else ""
        )
    found = _digest(file, algorithm, on_progress)
    if wanted and found != wanted:
        if file != path:
            file.unlink()
        raise DataError(
            f"{path.name} has the {algorithm} {found}, but {wanted} is right: it is damaged or another file. "
            f"{'Delete it' if file == path else 'It was deleted'}; run the command again, or get {download.url} "
            f"yourself and pass --source FILE."
        )
    if not wanted:
        record.write_text(f"{found}  {path.name}\n", encoding="utf-8")
        say(f"{path.name}: no checksum is published; its sha256 is {found} (written to {record})")


def _digest(path: Path, algorithm: str, on_progress: OnProgress) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    total, done = path.stat().st_size, 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            on_progress(f"verify {path.name.removesuffix('.partial')}", done, total)
    return digest.hexdigest()


@dataclass(frozen=True)
class _State:
    """Which version of which file a partial download belongs to.

    Attributes:
        url: Address that the file comes from.
        validator: The server's ETag or Last-Modified; empty if it sends neither.
        total: Bytes of the whole file; -1 if the server does not say.
    """

    url: str
    validator: str
    total: int


def _download(download: Download, partial: Path, on_progress: OnProgress) -> None:
    """Get the whole file, continuing as often as it takes while there is progress."""
    failed = 0
    reached = False
    while True:
        before = _size(partial)
        try:
            if _receive(download, partial, on_progress):
                return
            reached, reason = True, "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 416, 429):
                raise DataError(
                    f"{download.url} answers {error.code} {error.reason}: it cannot be downloaded. {_by_hand(download)}"
                ) from error
            reached, reason = True, f"the server answers {error.code} {error.reason}"
        except urllib.error.URLError as error:
            if not reached:
                raise DataError(
                    f"{urlsplit(download.url).netloc} cannot be reached ({error.reason}): is this machine offline? "
                    f"{_by_hand(download)}"
                ) from error
            reason = str(error.reason)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise  # of the disk, not of the network
            reached, reason = True, " ".join(str(error).split()) or type(error).__name__
        failed = 1 if _size(partial) > before else failed + 1
        if failed >= ATTEMPTS:
            raise DataError(
                f"{download.url} stopped after {_size(partial):,} bytes: {reason}. Run the same command again to "
                "continue, or get the file yourself and pass --source FILE."
            )
        time.sleep(PAUSE * 2 ** (failed - 1))


def _by_hand(download: Download) -> str:
    return (
        f"Get {download.url} yourself and pass --source with the file or the folder that holds it."
    )


def _receive(download: Download, partial: Path, on_progress: OnProgress) -> bool:
    """One connection: append what the server sends; whether the file is complete then."""
    state, have = _read_state(partial), _size(partial)
    if state is None or state.url != download.url or not state.validator or have > state.total > -1:
        have = 0
    elif have == state.total:
        return True
    headers = {"User-Agent": "vitseg", "Accept-Encoding": "identity"}
    if state is not None and have:
        headers |= {"Range": f"bytes={have}-", "If-Range": state.validator}
    request = urllib.request.Request(download.url, headers=headers)
    try:
        response = _opener().open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the file is shorter now
            partial.unlink(missing_ok=True)
        raise
    with response:
        assert state is not None or not have, "a partial file without state is not continued"
        # 200: from the start, because the file has changed or the server knows no ranges
        have = have if response.status == 206 else 0
        if have and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            partial.unlink(missing_ok=True)
            return False
        if response.headers.get_content_type() == "text/html":
            raise DataError(
                f"{download.url} answers with a web page instead of the file. {_by_hand(download)}"
            )
        length = int(response.headers.get("Content-Length", -1))
        total = have + length if length >= 0 else -1
        _require_room(partial, length)
        _write_state(partial, _State(download.url, _validator(response.headers), total))
        with partial.open("ab" if have else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                on_progress(f"download {download.name}", have, max(total, have))
    return total in (-1, have)


def _validator(headers: http.client.HTTPMessage) -> str:
    """What If-Range may be asked with: a strong ETag, else the date."""
    etag = headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")


def _require_room(partial: Path, length: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    if length > free:
        raise DataError(
            f"{partial.parent} has {free / 1e9:.1f} GB free, but the rest of the download takes {length / 1e9:.1f} GB. "
            "Give --out on a larger disk."
        )


class _HttpOnly(urllib.request.HTTPRedirectHandler):
    """Redirections stay with http, and with https once there."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        allowed = ("https",) if urlsplit(req.full_url).scheme == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            raise DataError(
                f"{req.full_url} redirects to {newurl}, which is not followed: only {' and '.join(allowed)} is allowed."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Opens http and https, nothing else: no files, no ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
        _HttpOnly,
    ):
        opener.add_handler(handler())
    return opener


def _state_file(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _read_state(partial: Path) -> _State | None:
    try:
        return _State(**parsing.read_json(_state_file(partial)))
    except (ValueError, TypeError):
        return None  # without it the download starts again


def _write_state(partial: Path, state: _State) -> None:
    _state_file(partial).write_text(json.dumps(asdict(state)), encoding="utf-8")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
