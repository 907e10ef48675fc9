"""Layers onto disk: one over the other, and never a step outside."""

from __future__ import annotations

import gzip
import io
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbake.base.unpack import apply_layer
from runbake.errors import BaseImageError, DigestMismatch
from runbake.image.blob import Digest
from tests.unit.base.world import layer


def unpack(tmp_path: Path, *layers: bytes) -> Path:
    """The tree that these layers give."""
    root, blob = tmp_path / "root", tmp_path / "blob"
    root.mkdir()
    for tar in layers:
        blob.write_bytes(tar)
        apply_layer(blob, Digest.of(tar), root)
    return root


def tree(root: Path) -> dict[str, str]:
    """Every path with its content, link target or "/"."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = "/" if path.is_dir() else path.read_text()
    return found


def test_later_layers_win_and_whiteouts_hide(tmp_path: Path) -> None:
    """Files are replaced, `.wh.` removes one, an opaque mark hides all that was below."""
    found = tree(
        unpack(
            tmp_path,
            layer(("a/one", b"1"), ("a/two", b"2"), ("b/old", b"3"), ("c", b"4"), ("d/e", b"5")),
            layer(("a/.wh.one", b""), ("b/new", b"6"), ("b/.wh..wh..opq", b""), ("c/f", b"7"), ("d", b"8")),
        )
    )
    assert found == {"a": "/", "a/two": "2", "b": "/", "b/new": "6", "c": "/", "c/f": "7", "d": "8"}


def test_links_stay_inside(tmp_path: Path) -> None:
    """Absolute links become relative, links that climb stop at the root, hard links share their file."""
    root = unpack(
        tmp_path,
        layer(
            ("usr/lib/x", b"x"),
            ("lib", "-> usr/lib"),
            ("usr/abs", "-> /usr/lib/x"),
            ("usr/climbs", "-> ../../../../../usr/lib/x"),
            ("usr/hard", "=> usr/lib/x"),
            ("usr/lib/hard-to-link", "=> usr/abs"),
        ),
        layer(("lib/y", b"y")),
    )
    assert tree(root) == {
        "lib": "-> usr/lib",
        "usr": "/",
        "usr/abs": "-> lib/x",
        "usr/climbs": "-> lib/x",
        "usr/hard": "x",
        "usr/lib": "/",
        "usr/lib/hard-to-link": "-> x",
        "usr/lib/x": "x",
        "usr/lib/y": "y",
    }
    assert (root / "usr/hard").samefile(root / "usr/lib/x")


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/../evil", "a/.wh...", ".wh..", "a/.wh..", "b/.wh.../x"]
)
def test_a_name_cannot_leave_the_root(tmp_path: Path, name: str) -> None:
    """Names that climb, as files or as whiteouts, are refused, or touch nothing outside."""
    (tmp_path / "keep").write_text("me")
    with suppress(BaseImageError):
        unpack(tmp_path, layer(("a", None), (name, b"x")))
    assert (tmp_path / "keep").read_text() == "me"
    assert {path.name for path in tmp_path.iterdir()} == {"keep", "root", "blob"}
    assert (tmp_path / "root/a").is_dir()


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join),
            st.one_of(
                st.just(b"x"),
                st.none(),
                st.lists(st.sampled_from(["..", "a", "b", "c", ""]), max_size=6).map(
                    lambda parts: "-> " + ("/".join(parts) or "/")
                ),
            ),
        ),
        max_size=8,
    )
)
def test_no_order_of_links_and_files_leads_outside(
    tmp_path_factory: pytest.TempPathFactory, items: list[tuple[str, bytes | str | None]]
) -> None:
    """Whatever links a layer makes and writes through, nothing appears outside and no link points there."""
    home = tmp_path_factory.mktemp("unpack")
    try:
        root = unpack(home, layer(*items))
    except BaseImageError:
        root = home / "root"
    assert {path.name for path in home.iterdir()} == {"root", "blob"}
    for path in root.rglob("*"):
        if path.is_symlink():
            try:
                assert path.resolve().is_relative_to(root.resolve()), path
            except RuntimeError:
                continue  # a loop leads nowhere


def test_devices_owners_and_set_user_bits_stay_behind(tmp_path: Path) -> None:
    """A device node is skipped, a set-user file becomes an ordinary one; no root is needed."""
    device = tarfile.TarInfo("dev/null")
    device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 1, 3
    owned = tarfile.TarInfo("bin/su")
    owned.mode, owned.uid = 0o4755, 0
    root = unpack(tmp_path, layer(device, owned))
    assert tree(root) == {"bin": "/", "bin/su": "", "dev": "/"}
    assert (root / "bin/su").stat().st_mode & 0o7777 == 0o755


def test_gzip_of_many_members_is_read_to_its_end(tmp_path: Path) -> None:
    """A layer in several gzip members, as parallel compressors write it, is one tar."""
    tar = layer(("a", b"1" * 5000), ("b", b"2"))
    (tmp_path / "root").mkdir()
    (tmp_path / "blob").write_bytes(gzip.compress(tar[:700]) + gzip.compress(tar[700:]))
    apply_layer(tmp_path / "blob", Digest.of(tar), tmp_path / "root")
    assert tree(tmp_path / "root")["b"] == "2"


def test_other_bytes_than_the_configuration_says_are_refused(tmp_path: Path) -> None:
    """The uncompressed digest is checked to the last byte, padding included."""
    tar = layer(("a", b"1"))
    (tmp_path / "root").mkdir()
    (tmp_path / "blob").write_bytes(tar + b"\0")
    with pytest.raises(DigestMismatch, match="configuration"):
        apply_layer(tmp_path / "blob", Digest.of(tar), tmp_path / "root")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x28\xb5\x2f\xfd rest", "zstd"),
        (b"not a tar at all" * 100, "unpacked"),
        (gzip.compress(layer(("a", b"1")), mtime=0)[:60], "unpacked"),
    ],
    ids=["zstd", "text", "cut-gzip"],
)
def test_a_layer_that_is_no_tar_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    """zstd, garbage and a cut file each say so."""
    (tmp_path / "root").mkdir()
    (tmp_path / "blob").write_bytes(data)
    with pytest.raises(BaseImageError, match=said):
        apply_layer(tmp_path / "blob", Digest.of(data), tmp_path / "root")


def test_a_hard_link_to_nothing_is_refused(tmp_path: Path) -> None:
    """A link whose file is not there is an error, not a traceback."""
    with pytest.raises(BaseImageError, match="leads nowhere"):
        unpack(tmp_path, layer(("a", "=> b")))


def test_an_empty_layer_is_a_layer(tmp_path: Path) -> None:
    """Two zero blocks are a tar without files."""
    out = io.BytesIO()
    tarfile.open(fileobj=out, mode="w").close()
    assert tree(unpack(tmp_path, out.getvalue())) == {}
