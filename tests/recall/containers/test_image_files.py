"""Opening image files: texts before and after the pixels, files that are no images, bombs."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import pytest
from recall_samples import plain_graph, png

from distillery.nodes.errors import DistilleryError
from distillery.nodes.generation import Generation
from distillery.nodes.recall import RecallError, recall
from distillery.nodes.recall.containers.png import MAX_ALL_CHUNKS


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt"])
@pytest.mark.parametrize("after_idat", [False, True])
def test_text_chunks_before_and_after_the_pixels(kind: str, after_idat: bool) -> None:
    assert recall(png({"prompt": plain_graph()}, kind=kind, after_idat=after_idat)).seed == 2**60 + 1  # type: ignore[arg-type]


def test_path_bytes_and_file_give_the_same(tmp_path: Path) -> None:
    data = png({"prompt": plain_graph()})
    path = tmp_path / "ünï code.png"
    path.write_bytes(data)
    file = io.BytesIO(data)
    file.seek(17)
    assert recall(path) == recall(str(path)) == recall(data) == recall(file)
    with path.open("rb") as opened:
        assert recall(opened) == recall(data)


def test_image_without_texts_has_no_generation_data() -> None:
    generation = recall(png({}))
    assert generation == Generation()


def test_texts_of_no_known_format_are_named() -> None:
    generation = recall(png({"Software": "GIMP", "Comment": "x"}))
    assert generation.empty and '"Software", "Comment"' in generation.warnings[0]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"  <!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"hello", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "its header is missing"),
        (b"\xff\xd8\xff\xe0 not a jpeg", "image"),
    ],
)
def test_file_that_is_no_image(data: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "result.png"
    path.write_bytes(data)
    for source in (data, path, io.BytesIO(data)):
        with pytest.raises(RecallError, match=says) as error:
            recall(source)
        assert isinstance(error.value, DistilleryError) and str(tmp_path) not in str(error.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(RecallError, match=r"no file x\.png"):
        recall(tmp_path / "x.png")
    with pytest.raises(RecallError):
        recall(tmp_path)


def test_truncated_image_gives_what_comes_before_its_pixels() -> None:
    data = png({"prompt": plain_graph()}, (300, 300))
    generation = recall(data[: data.index(b"IDAT") + 30])
    assert generation.seed == 2**60 + 1 and any("cut short" in w for w in generation.warnings)


@pytest.mark.parametrize("after_idat", [False, True])
def test_decompression_bomb_in_a_text_is_left_out(after_idat: bool) -> None:
    bomb = png({"prompt": '"' + "a" * 3_000_000 + '"'}, kind="zTXt", after_idat=after_idat)
    generation = recall(bomb)
    assert generation.empty and "damaged, or larger than 1 MiB" in generation.warnings[0]


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    return (
        len(body).to_bytes(4, "big")
        + kind
        + body
        + (zlib.crc32(kind + body) if crc is None else crc).to_bytes(4, "big")
    )


def with_chunks(data: bytes, *chunks: bytes) -> bytes:
    """A PNG with chunks behind its header."""
    return data[:33] + b"".join(chunks) + data[33:]


def test_large_profile_and_large_text_do_not_keep_a_file_from_being_read() -> None:
    plain = png({"prompt": plain_graph()})
    large = zlib.compress(b"a" * 3_000_000)
    for extra in (chunk(b"iCCP", b"x\0\0" + large), chunk(b"zTXt", b"note\0\0" + large)):
        assert recall(with_chunks(plain, extra)).seed == 2**60 + 1


@pytest.mark.parametrize("kind", [b"tEXt", b"tIME", b"gAMA", b"iCCP"])
def test_wrong_checksum_of_what_the_picture_does_not_need(kind: bytes) -> None:
    wrong = chunk(kind, b"note\0text", crc=12345)
    assert recall(with_chunks(png({"prompt": plain_graph()}), wrong)).seed == 2**60 + 1


class CountingFile(io.BytesIO):
    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(size)


def test_no_more_chunks_are_looked_at_than_the_limit() -> None:
    plain = png({"prompt": plain_graph()})
    file = CountingFile(with_chunks(plain, chunk(b"abCd", b"") * (MAX_ALL_CHUNKS + 50_000)))
    generation = recall(file)
    assert file.reads < MAX_ALL_CHUNKS + 1000
    assert generation.empty and any("more chunks" in w for w in generation.warnings)


def test_pixel_bomb_is_refused() -> None:
    data = bytearray(png({}))
    at = data.index(b"IHDR")
    data[at + 4 : at + 12] = (60000).to_bytes(4, "big") * 2
    data[at + 17 : at + 21] = zlib.crc32(data[at : at + 17]).to_bytes(4, "big")
    with pytest.raises(RecallError, match="too many pixels"):
        recall(bytes(data))
