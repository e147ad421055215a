from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from vitseg.errors import DataError
from vitseg.prepare.archives import Limits, Unpacked, unpack

LIMITS = Limits()
FILES = {"set/images/a.jpg": b"a" * 3000, "set/images/b.jpg": b"b", "set/empty.txt": b""}


def write_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: dict[str, bytes], *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


WRITERS = {"a.zip": write_zip, "a.tar": write_tar, "a.tar.gz": write_tar, "a.tgz": write_tar}


def below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones, too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refuse(archive: Path, message: str, limits: Limits = LIMITS) -> None:
    """Refuses the archive with this message, and nothing is written anywhere."""
    folder = archive.parent
    before = below(folder)
    with pytest.raises(DataError, match=message):
        unpack(archive, folder / "out", limits)
    assert below(folder) == before
    assert not (folder.parent / "evil.txt").exists()


@pytest.mark.parametrize("name", WRITERS)
def test_files_come_out_and_a_second_run_keeps_them(tmp_path, name):
    archive = WRITERS[name](tmp_path / name, FILES)
    seen = []
    out = tmp_path / "out"
    assert unpack(archive, out, on_progress=lambda *step: seen.append(step)) == Unpacked(3, 0)
    assert below(out) == FILES
    assert seen[-1] == (f"unpack {name}", 3001, 3001)
    assert unpack(archive, out) == Unpacked(0, 3)


@pytest.mark.parametrize("name", WRITERS)
def test_an_interrupted_run_continues(tmp_path, name):
    archive = WRITERS[name](tmp_path / name, FILES)
    out = tmp_path / "out"

    def interrupt(step, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(archive, out, on_progress=interrupt)
    assert below(out) == {"set/images/a.jpg": FILES["set/images/a.jpg"]}
    (out / "set/images/a.jpg").write_bytes(b"aa")  # truncated
    assert unpack(archive, out) == Unpacked(3, 0)
    assert below(out) == FILES


def test_a_file_of_the_same_size_but_other_content_is_replaced_from_a_zip(tmp_path):
    archive = write_zip(tmp_path / "a.zip", FILES)
    unpack(archive, tmp_path / "out")
    (tmp_path / "out/set/images/b.jpg").write_bytes(b"x")
    assert unpack(archive, tmp_path / "out") == Unpacked(1, 2)
    assert below(tmp_path / "out") == FILES


def test_a_failing_write_leaves_nothing_behind(tmp_path, monkeypatch):
    archive = write_zip(tmp_path / "a.zip", FILES)

    def full(*arguments):
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        unpack(archive, tmp_path / "out")
    assert below(tmp_path / "out") == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../evil.txt", r"'\.\./evil\.txt' has '\.\.' in its path"),
        ("a/../../evil.txt", r"has '\.\.'"),
        ("/tmp/evil.txt", "has an absolute path"),
        ("//host/evil.txt", "has an absolute path"),
        ("..\\evil.txt", "has a Windows path"),
        ("C:/evil.txt", "has a Windows path"),
        ("a/c:evil.txt", "has a Windows path"),
        ("a/.. /evil.txt", "dots and spaces"),
        ("a/evil\n.txt", "control characters"),
        ("a/..", r"has '\.\.'"),
    ],
)
@pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tgz"])
def test_paths_that_lead_out(tmp_path, kind, name, message):
    archive = WRITERS[kind](tmp_path / kind, {"first.txt": b"x", name: b"x"})
    refuse(archive, message)


def test_a_zero_byte_in_a_name(tmp_path):
    archive = write_zip(tmp_path / "a.zip", {"a!../evil.txt": b"x"})
    archive.write_bytes(archive.read_bytes().replace(b"a!..", b"a\0.."))
    refuse(archive, "control characters|in its path|damaged")


@pytest.mark.parametrize("prefix", ["./", ".//./"])
def test_a_dot_in_front_is_harmless(tmp_path, prefix):
    archive = write_tar(tmp_path / "a.tar", {f"{prefix}a.txt": b"x"})
    unpack(archive, tmp_path / "out")
    assert below(tmp_path / "out") == {"a.txt": b"x"}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (tarfile.SYMTYPE, "'evil' is a symbolic link"),
        (tarfile.LNKTYPE, "'evil' is a hard link"),
        (tarfile.CHRTYPE, "'evil' is a device or a pipe"),
        (tarfile.BLKTYPE, "'evil' is a device or a pipe"),
        (tarfile.FIFOTYPE, "'evil' is a device or a pipe"),
        (tarfile.GNUTYPE_SPARSE, "'evil' is neither a plain file nor a folder"),
        (b"Z", "'evil' is neither a plain file nor a folder"),
    ],
)
def test_links_and_devices_of_a_tar(tmp_path, kind, message):
    member = tarfile.TarInfo("evil")
    member.type, member.linkname = kind, "/etc"
    refuse(write_tar(tmp_path / "a.tar", {"evil/passwd": b"x"}, member), message)


@pytest.mark.parametrize(
    ("mode", "message"),
    [(stat.S_IFLNK, "'evil' is a symbolic link"), (stat.S_IFIFO, "'evil' is a device, a pipe")],
)
def test_links_and_pipes_of_a_zip(tmp_path, mode, message):
    info = zipfile.ZipInfo("evil")
    info.external_attr = (mode | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc")
        archive.writestr("evil/passwd", "x")
    refuse(tmp_path / "a.zip", message)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
def test_entries_that_come_twice(tmp_path, kind):
    if kind == "a.zip":
        with zipfile.ZipFile(tmp_path / kind, "w") as archive:
            archive.writestr("a/b.txt", "1")
            archive.writestr("a//./b.txt", "2")
    else:
        first = tarfile.TarInfo("a/b.txt")
        write_tar(tmp_path / kind, {"a/./b.txt": b"2"}, first)
    refuse(tmp_path / kind, "comes twice")


def test_a_file_that_is_a_folder_too(tmp_path):
    refuse(write_zip(tmp_path / "a.zip", {"a": b"1", "a/b": b"2"}), "'a' is a file and a folder")


def test_encrypted_zip(tmp_path):
    archive = write_zip(tmp_path / "a.zip", {"a.txt": b"secret"})
    data = bytearray(archive.read_bytes())
    central = data.index(b"PK\1\2")
    struct.pack_into("<H", data, central + 8, 1)
    archive.write_bytes(data)
    refuse(archive, "'a.txt' is encrypted")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_decompress_without_bound(tmp_path, method):
    refuse(write_zip(tmp_path / "a.zip", {"a": b"x"}, method), "is compressed by method")


@pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tgz"])
def test_too_many_entries(tmp_path, kind):
    archive = WRITERS[kind](tmp_path / kind, {f"{i}.txt": b"" for i in range(6)})
    refuse(archive, "more than 5 entries, which are allowed", Limits(entries=5))
    assert unpack(archive, tmp_path / "out", Limits(entries=6)).written == 6


@pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tgz"])
def test_too_many_bytes(tmp_path, kind):
    archive = WRITERS[kind](tmp_path / kind, {"a": bytes(600), "b": bytes(600)})
    refuse(archive, "unpacks to more than 1,199 bytes", Limits(total=1199))
    assert unpack(archive, tmp_path / "out", Limits(total=1200)).written == 2


@pytest.mark.parametrize("kind", ["a.zip", "a.tgz"])
def test_bombs_by_ratio(tmp_path, kind):
    archive = WRITERS[kind](tmp_path / kind, {"zeros": bytes(3 << 20)})
    assert archive.stat().st_size < 1 << 20
    refuse(archive, "unpacks to more than 2,097,152 bytes", Limits(ratio=2))
    assert unpack(archive, tmp_path / "out", Limits(ratio=3)).written == 1


def test_a_header_that_lies_about_the_size(tmp_path):
    """The bomb says that it is small; no more than it says is written."""
    archive = write_zip(tmp_path / "a.zip", {"zeros": bytes(5 << 20)})
    data = bytearray(archive.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\1\2") + 24, 10)
    archive.write_bytes(data)
    refuse(archive, "entry 'zeros'.* (damaged|not the 10 bytes)")


def test_a_tar_header_that_asks_for_much_memory(tmp_path):
    member = tarfile.TarInfo("evil")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 1 << 34
    header = member.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tgz").write_bytes(gzip.compress(header + bytes(1 << 20)))
    # Python 3.14 reads it in parts, of which the first is refused.
    asked = r"17,179,869,\d+" if sys.version_info < (3, 14) else "1,048,576"
    refuse(tmp_path / "a.tgz", rf"a header of {asked} bytes; at most 65,536")


@pytest.mark.parametrize(
    "content", [b"", b"<html>not found</html>", b"\x89PNG\r\n\x1a\n", bytes(2000)]
)
def test_unknown_formats(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    refuse(tmp_path / "a.zip", "no archive in a known format. Known: zip, tar, tar.gz and tgz")


def test_a_missing_archive(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tgz"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_archives(tmp_path, kind, share):
    content = {f"{i}.bin": os.urandom(5000) for i in range(4)}
    archive = WRITERS[kind](tmp_path / kind, content)
    data = archive.read_bytes()
    size = len(data) if kind != "a.tar" else 4 * 5632  # without the blocks at the end
    archive.write_bytes(data[: int(share * size)])
    with pytest.raises(DataError, match=r"a\.\w+.* is damaged|is no archive"):
        unpack(archive, tmp_path / "out")
    assert all(found == content[name] for name, found in below(tmp_path / "out").items())


@pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tgz"])
def test_whatever_is_damaged_is_one_clear_error(tmp_path, kind):
    """Single damaged bytes are noticed, or do no harm; only a plain tar has no checksum of the content."""
    archive = WRITERS[kind](tmp_path / kind, FILES)
    data = archive.read_bytes()
    for place in range(0, len(data), max(1, len(data) // 150)):
        damaged = bytearray(data)
        damaged[place] ^= 0x55
        archive.write_bytes(damaged)
        out = tmp_path / "out" / str(place)
        try:
            unpack(archive, out, Limits(total=10_000_000))
        except DataError:
            assert not [name for name in below(out) if name.endswith(".partial")]


def test_links_in_the_output_are_not_followed(tmp_path):
    archive = write_zip(tmp_path / "a.zip", {"a/b/c.txt": b"x"})
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    (out / "a").mkdir(parents=True)
    (out / "a" / "b").symlink_to(elsewhere)
    refuse(archive, r"out/a/b is a link, but files are to be written below it")
    (out / "a" / "b").unlink()
    (out / "a" / "b").mkdir()
    target = elsewhere / "target.txt"
    target.write_text("mine")
    (out / "a" / "b" / "c.txt").symlink_to(target)
    refuse(archive, r"c\.txt is a link, but a file is to be written there")
    (out / "a" / "b" / "c.txt").unlink()
    (out / "a" / "b" / f".{os.getpid()}.partial").symlink_to(target)
    unpack(archive, out)
    assert target.read_text() == "mine"
    assert (out / "a" / "b" / "c.txt").read_bytes() == b"x"


def test_the_output_folder_itself_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    unpack(write_zip(tmp_path / "a.zip", {"a.txt": b"x"}), tmp_path / "out")
    assert below(tmp_path / "disk") == {"a.txt": b"x"}


def test_what_is_in_the_way(tmp_path):
    archive = write_zip(tmp_path / "a.zip", {"a/b": b"x"})
    (tmp_path / "out").write_text("")
    refuse(archive, "out is a file, but a folder")
    (tmp_path / "out").unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("")
    refuse(archive, "a is a file, but files are to be written below it")
    (tmp_path / "out" / "a").unlink()
    (tmp_path / "out" / "a" / "b").mkdir(parents=True)
    refuse(archive, "b is a folder, but a file is to be written there")


def headers(*members: tuple[bytes, bytes]) -> bytes:
    """Tar headers of a type with their content, and the end."""
    raw = b""
    for kind, body in members:
        info = tarfile.TarInfo("x")
        info.type, info.size = kind, len(body)
        raw += info.tobuf(tarfile.GNU_FORMAT) + body + bytes(-len(body) % 512)
    return raw + bytes(1024)


def record(key: str, value: str) -> bytes:
    """An attribute as pax headers have it, with its own length in front."""
    rest = f" {key}={value}\n"
    length = len(rest) + len(str(len(rest)))
    return f"{length + (len(str(length)) != len(str(len(rest))))}{rest}".encode()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([(b"L", b"a/" * 40_000), (b"0", b"")], "a header of 80,384 bytes; at most 65,536"),
        ([(b"x", record("comment", "x" * 80_000)), (b"0", b"")], "at most 65,536 are read"),
        ([(b"L", b"a/" * 1000), (b"0", b"")], "a path of more than 1,024 bytes"),
        ([(b"L", b"b" * 300), (b"0", b"")], "a name of more than 255 bytes"),
        ([(b"L", b"a/" * 100 + b"b"), (b"0", b"")], "lies more than 64 folders deep"),
        ([(b"L", b"a")] * 3000, "header follows header without an entry"),
        (
            [(b"g", b"".join(record(f"k{at}", "v") for at in range(101))), (b"0", b"")],
            "more than 100 attributes",
        ),
    ],
)
def test_headers_that_are_too_large(tmp_path, members, message):
    archive = tmp_path / "a.tar"
    archive.write_bytes(headers(*members))
    refuse(archive, message)


def test_headers_that_are_too_many(tmp_path):
    archive = tmp_path / "a.tar"
    archive.write_bytes(headers(*[(b"x", record("comment", "x" * 60_000)), (b"0", b"")] * 1))
    refuse(archive, "headers of more than 20,480 bytes", Limits(entries=10))
    assert unpack(archive, tmp_path / "out", Limits(entries=100)).written == 1


def test_a_list_of_zip_entries_that_is_too_large(tmp_path, monkeypatch):
    archive = write_zip(tmp_path / "a.zip", {f"{at:03}" + "x" * 200: b"" for at in range(100)})
    monkeypatch.setattr("vitseg.prepare.archives._LARGEST_DIRECTORY", 20_000)
    refuse(archive, "at most 20,000 are read")
