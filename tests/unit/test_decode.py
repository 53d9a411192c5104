import io
import struct
import zlib

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from workers.vision.decode import DecodeLimits, UndecodableError, decode, read_header

LIMITS = DecodeLimits()


def scene(height: int = 40, width: int = 60) -> np.ndarray:
    """A picture that survives lossy compression: slow gradients."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * y / height, 255 * x / width, 128 + 0 * x], axis=2).astype(np.uint8)


def encoded(pixels: np.ndarray, kind: str, mode: str | None = None, **options: object) -> bytes:
    image = Image.fromarray(pixels)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


def far(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", None), ("JPEG", "CMYK"), ("PNG", None), ("WEBP", None), ("PNG", "RGBA"), ("PNG", "P")]
)
def test_every_kind_and_mode_is_rgb(kind, mode):
    pixels = decode(encoded(scene(), kind, mode), LIMITS)

    assert pixels.dtype == np.uint8
    assert pixels.shape == (40, 60, 3)
    assert far(pixels, scene()) < (25 if mode == "P" else 6)  # a palette has few colours


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_greyscale_has_three_equal_channels(kind):
    pixels = decode(encoded(scene(), kind, "L"), LIMITS)

    assert (pixels == pixels[:, :, :1]).all()
    assert far(pixels[:, :, 0], np.asarray(Image.fromarray(scene()).convert("L"))) < 2


def test_16_bit_grey_keeps_its_upper_bits():
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)

    assert (decode(encoded(ramp, "PNG"), LIMITS)[:, :, 1] == ramp >> 8).all()


def test_transparency_lies_over_white():
    covered = np.dstack([scene(), np.full((40, 60), 255, np.uint8)])
    covered[:20, :, 3] = 0

    pixels = decode(encoded(covered, "PNG"), LIMITS)

    assert (pixels[:20] == 255).all()
    assert (pixels[20:] == scene()[20:]).all()


def test_transparent_palette_colour_lies_over_white():
    palette = Image.fromarray(scene()).quantize(8)
    file = io.BytesIO()
    palette.save(file, "PNG", transparency=int(np.asarray(palette)[0, 0]))

    assert (decode(file.getvalue(), LIMITS)[0, 0] == 255).all()


def test_orientation_in_exif_is_not_applied():
    exif = Image.Exif()
    exif[0x0112] = 6

    assert decode(encoded(scene(), "JPEG", exif=exif), LIMITS).shape == (40, 60, 3)


def test_memoryview_is_decoded_like_bytes():
    content = encoded(scene(), "JPEG")
    whole = memoryview(b"before" + content + b"after")

    assert (decode(whole[6 : 6 + len(content)], LIMITS) == decode(content, LIMITS)).all()


def test_cut_jpeg_gives_what_could_be_read():
    content = encoded(scene(400, 400), "JPEG")
    pixels = decode(content[: len(content) * 3 // 4], LIMITS)

    assert pixels.shape == (400, 400, 3)
    assert far(pixels[:200], scene(400, 400)[:200]) < 6


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_above_the_cap_a_picture_is_decoded_scaled_down(kind):
    content = encoded(scene(1000, 600), kind)

    assert decode(content, DecodeLimits(cap_pixels=500 * 300)).shape == (500, 300, 3)
    assert decode(content, DecodeLimits(cap_pixels=500 * 300 - 1)).shape == (250, 150, 3)
    assert decode(content, DecodeLimits(cap_pixels=1)).shape == (125, 75, 3)
    assert far(decode(content, DecodeLimits(cap_pixels=1)), scene(125, 75)) < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(("smallest", "shape"), [(150, (250, 150, 3)), (151, (500, 300, 3)), (601, (1000, 600, 3))])
def test_no_side_is_scaled_below_the_smallest(kind, smallest, shape):
    assert decode(encoded(scene(1000, 600), kind), DecodeLimits(cap_pixels=1, smallest=smallest)).shape == shape


@pytest.mark.parametrize("cap", [1, 1000, 10**9])
@pytest.mark.parametrize(("kind", "mode"), [("JPEG", None), ("JPEG", "CMYK"), ("PNG", "P")])
def test_the_decoded_shape_is_known_from_the_header(kind, mode, cap):
    content = encoded(scene(101, 53), kind, mode)
    limits = DecodeLimits(cap_pixels=cap, smallest=10)

    assert read_header(content, limits).shape == decode(content, limits).shape


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", None), ("JPEG", "CMYK"), ("PNG", None)])
def test_a_picture_goes_where_it_is_wanted_if_it_fits(kind, mode):
    content = encoded(scene(), kind, mode)
    fits, other = np.zeros((40, 60, 3), np.uint8), np.zeros((40, 61, 3), np.uint8)

    assert np.shares_memory(decode(content, LIMITS, fits), fits)
    assert (fits == decode(content, LIMITS)).all()
    assert (decode(content, LIMITS, other) == fits).all()


def bomb(side: int) -> bytes:
    """A PNG that says it has side x side pixels and holds none."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    pieces = [
        struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        for body in (header, data, b"IEND")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


def test_more_pixels_than_allowed_are_refused_from_the_header():
    with pytest.raises(UndecodableError, match="20000 x 20000 pixels are more than 100000000"):
        decode(bomb(20_000), LIMITS)
    with pytest.raises(UndecodableError, match="60 x 40 pixels are more than 2399"):
        decode(simplejpeg.encode_jpeg(scene()), DecodeLimits(refuse_pixels=2399))
    with pytest.raises(UndecodableError, match="20000 x 20000 pixels are more than 100000000"):
        read_header(bomb(20_000), LIMITS)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"this is a text",
        b"\xff\xd8",
        b"\xff\xd8\xff\xe0" + bytes(200),
        encoded(scene(), "JPEG")[:100],
        encoded(scene(), "PNG")[:40],
        encoded(scene(300, 300), "PNG")[:300],
        encoded(scene(300, 300), "JPEG", "CMYK")[:5000],
        encoded(scene(), "WEBP")[:30],
        encoded(scene(), "GIF"),
        bomb(10),
    ],
)
def test_what_nobody_reads_is_undecodable(content):
    with pytest.raises(UndecodableError) as caught:
        decode(content, LIMITS)
    assert caught.value.reason
    assert "\n" not in caught.value.reason
