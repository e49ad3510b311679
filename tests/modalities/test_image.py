"""Decoding, preparing and pooling images, on real files made with Pillow."""

import io
import json
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neuralrank import registry
from neuralrank.errors import DataError, ModelError
from neuralrank.types import Hidden, ImagePreprocessing

ZOO = Path(__file__).resolve().parents[2] / "../shared/zoo"
IMAGE = registry.get("modalities", "image")()


def photo(width: int = 60, height: int = 40, seed: int = 0) -> Image.Image:
    """A smooth picture, as a photograph is."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def test_bytes_path_array_and_pillow_image_give_the_same_pixels(tmp_path):
    picture = photo()
    (tmp_path / "a.png").write_bytes(encoded(picture))
    expected = np.asarray(picture)
    for raw in (encoded(picture), tmp_path / "a.png", str(tmp_path / "a.png"), picture, expected):
        pixels = IMAGE.read_sample(raw)
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_the_camera_is_applied(orientation):
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8, :16] = 255  # the white quarter is at the top left when orientation is 1
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = IMAGE.read_sample(encoded(Image.fromarray(pixels), "JPEG", exif=exif, quality=95))
    assert found.shape[:2] == ((16, 32) if orientation < 5 else (32, 16))
    corners = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}
    down, right = corners[orientation]
    assert found[down * (found.shape[0] - 1), right * (found.shape[1] - 1), 0] > 200


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "YCbCr"])
def test_every_colour_mode_becomes_rgb(mode):
    source = photo().convert(mode)
    kind = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
    assert IMAGE.read_sample(encoded(source, kind)).shape == (40, 60, 3)


def test_a_transparent_palette_is_read_without_a_warning():
    source = photo().convert("P")
    pixels = IMAGE.read_sample(encoded(source, transparency=bytes([0] * 128 + [255] * 128)))
    np.testing.assert_array_equal(pixels, np.asarray(source.convert("RGB")))


def test_sixteen_bits_are_scaled_not_clipped():
    wide = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
    expected = np.rint(wide / 257).astype(np.uint8)
    np.testing.assert_array_equal(IMAGE.read_sample(encoded(Image.fromarray(wide)))[:, :, 0], expected)
    np.testing.assert_array_equal(IMAGE.read_sample(wide)[:, :, 1], expected)


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    pixels = IMAGE.read_sample(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert pixels[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("array", "first"),
    [
        pytest.param(np.full((4, 5), 7, np.uint8), 7, id="grey"),
        pytest.param(np.full((4, 5, 1), 7, np.uint8), 7, id="one-channel"),
        pytest.param(np.full((3, 4, 5), 7, np.uint8), 7, id="channels-first"),
        pytest.param(np.full((4, 5, 4), 7, np.uint8), 7, id="alpha"),
        pytest.param(np.full((4, 5, 3), 0.5, np.float32), 128, id="floats-to-one"),
        pytest.param(np.full((4, 5, 3), 77.4), 77, id="floats-to-255"),
        pytest.param(np.full((4, 5), True), 255, id="booleans"),
        pytest.param(np.full((4, 5), 200, np.int64), 200, id="integers"),
    ],
)
def test_arrays_of_common_kinds_are_understood(array, first):
    pixels = IMAGE.read_sample(array)
    assert pixels.shape == (4, 5, 3)
    assert pixels[0, 0].tolist() == [first] * 3


@pytest.mark.parametrize(("size", "kind"), [((1024, 1600), "JPEG"), ((2000, 1536), "PNG"), ((3100, 3072), "JPEG")])
def test_a_large_photograph_is_reduced_by_a_whole_factor(size, kind):
    factor = min(size) // 512
    picture = photo(*size)
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    pixels = IMAGE.read_sample(encoded(picture, kind, **options))
    assert pixels.shape == (math.ceil(size[1] / factor), math.ceil(size[0] / factor), 3)
    difference = pixels.astype(int) - np.asarray(picture.reduce(factor)).astype(int)
    assert np.abs(difference).mean() < 2
    np.testing.assert_array_equal(IMAGE.read_sample(np.asarray(picture)), np.asarray(picture.reduce(factor)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_truncated_file_is_a_data_error_with_the_reason(kind):
    whole = encoded(photo(200, 200), kind)
    with pytest.raises(DataError, match=r"^An image needs to be readable\. Got .+\. Replace or remove it\.$"):
        IMAGE.read_sample(whole[: len(whole) // 2])


def test_what_is_no_image_is_named(tmp_path):
    with pytest.raises(DataError) as caught:
        IMAGE.read_sample(b"not an image")
    assert str(caught.value) == (
        "An image needs to be readable. Got no image format that is known. Replace or remove it."
    )
    with pytest.raises(DataError) as caught:
        IMAGE.read_sample(tmp_path / "missing.png")
    assert str(caught.value) == "An image needs to be readable. Got no such file. Replace or remove it."
    with pytest.raises(DataError, match="Got a NoneType"):
        IMAGE.read_sample(None)
    with pytest.raises(DataError, match=r"Got \(2, 3, 4, 5\)"):
        IMAGE.read_sample(np.zeros((2, 3, 4, 5), np.uint8))
    with pytest.raises(DataError, match=r"Got -1 to 300"):
        IMAGE.read_sample(np.array([[-1.0, 300.0]]))


def test_postscript_is_never_handed_to_another_program():
    with pytest.raises(DataError, match="no image format that is known"):
        IMAGE.read_sample(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")


def test_a_decompression_bomb_is_refused():
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(DataError, match=r"^An image needs to be readable\. Got more than 178,956,970 pixels\."):
        IMAGE.read_sample(bomb)


def prepared(samples, **changes):
    return IMAGE.make_batch(samples, ImagePreprocessing(**{"size": (4, 6), **changes}))["image"]


def test_normalisation_is_worked_out_by_hand():
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = 255, 51, 0
    mean, std = (0.5, 0.2, 0.1), (0.5, 0.25, 0.1)
    batch = prepared([pixels, pixels], mean=mean, std=std)
    assert (batch.shape, batch.dtype) == ((2, 3, 4, 6), np.float32)
    np.testing.assert_allclose(batch[1, :, 2, 3], [1, 0, -1], atol=1e-6)
    np.testing.assert_allclose(
        prepared([pixels], channels="BGR", mean=mean, std=std)[0, :, 0, 0], [-1, 0, 9], atol=1e-5
    )
    grey = prepared([pixels], channels="grey", mean=(0.5,), std=(0.5,))
    assert grey.shape == (1, 1, 4, 6)
    np.testing.assert_allclose(grey, (0.299 + 0.587 * 0.2 - 0.5) / 0.5, atol=1e-6)
    np.testing.assert_allclose(prepared([pixels], scale=1.0)[0, :, 0, 0], [255, 51, 0])


@pytest.mark.parametrize("channels", ["RGB", "BGR", "grey"])
def test_channels_last_holds_the_same_numbers(channels):
    samples = [np.asarray(photo(seed=seed)) for seed in range(3)]
    n = 1 if channels == "grey" else 3
    wanted = {"channels": channels, "mean": (0.1, 0.2, 0.3)[:n], "std": (0.4, 0.5, 0.6)[:n]}
    first, last = prepared(samples, **wanted), prepared(samples, **wanted, layout="NHWC")
    assert last.shape == (3, 4, 6, n)
    np.testing.assert_allclose(last, first.transpose(0, 2, 3, 1), rtol=1e-6)


def test_a_stretch_is_pillows_resize():
    picture = photo()
    for name in ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"):
        expected = np.asarray(picture.resize((6, 4), Image.Resampling[name.upper()])).transpose(2, 0, 1)
        np.testing.assert_array_equal(prepared([np.asarray(picture)], scale=1.0, interpolation=name)[0], expected)


@pytest.mark.parametrize(("width", "height"), [(61, 40), (40, 61), (100, 100), (33, 200)])
def test_a_crop_resizes_the_shorter_side_and_cuts_the_centre(width, height):
    picture = photo(width, height)
    short = int(32 / 0.875)  # 36
    grown = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    left, top = round((grown[0] - 32) / 2), round((grown[1] - 32) / 2)
    expected = picture.resize(grown, Image.Resampling.BICUBIC).crop((left, top, left + 32, top + 32))
    wanted = {"size": (32, 32), "resize": "crop", "crop_fraction": 0.875, "interpolation": "bicubic", "scale": 1.0}
    np.testing.assert_array_equal(prepared([np.asarray(picture)], **wanted)[0], np.asarray(expected).transpose(2, 0, 1))


def test_a_crop_of_a_long_thin_image_stays_small():
    ramp = np.repeat(np.linspace(0, 255, 40_000).astype(np.uint8)[None, :, None], 3, axis=2)
    batch = prepared([ramp], size=(224, 224), resize="crop", scale=1.0)
    assert batch.shape == (1, 3, 224, 224)
    np.testing.assert_allclose(batch, 127.5, atol=1)


def test_a_models_own_processor_is_called_on_the_samples():
    samples = [np.zeros((2, 2, 3), np.uint8)]
    batch = IMAGE.make_batch(samples, lambda given: {"pixel_values": np.float32(len(given)) * np.ones((1, 3, 2, 2))})
    assert list(batch) == ["pixel_values"]
    with pytest.raises(ModelError, match=r"^A model needs to say how images are prepared\. Got nothing\."):
        IMAGE.make_batch(samples, None)


def test_maps_and_tokens_are_averaged_and_vectors_kept():
    values = np.arange(24, dtype=np.float64)
    pooled = IMAGE.pool(Hidden(values=values.reshape(2, 3, 2, 2)))
    assert pooled.dtype == np.float32
    np.testing.assert_array_equal(pooled, [[1.5, 5.5, 9.5], [13.5, 17.5, 21.5]])
    np.testing.assert_array_equal(IMAGE.pool(Hidden(values=values.reshape(2, 12)))[1], np.arange(12, 24))
    tokens = values.reshape(2, 3, 4)
    np.testing.assert_array_equal(IMAGE.pool(Hidden(values=tokens))[0], [4, 5, 6, 7])
    mask = np.array([[1, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(IMAGE.pool(Hidden(values=tokens, mask=mask)), [[2, 3, 4, 5], [0, 0, 0, 0]])


def test_half_precision_maps_do_not_overflow():
    values = np.full((1, 2, 64, 64), 60_000, np.float16)
    np.testing.assert_allclose(IMAGE.pool(Hidden(values=values)), 60_000, rtol=1e-3)


def test_other_ranks_are_refused():
    with pytest.raises(ModelError) as caught:
        IMAGE.pool(Hidden(values=np.zeros((2, 2, 2, 2, 2))))
    assert str(caught.value) == (
        "The layer needs one vector, a row of tokens or a map per sample (rank 2, 3 or 4). Got rank 5. "
        "Choose another layer."
    )
    with pytest.raises(ModelError, match="one entry per token"):
        IMAGE.pool(Hidden(values=np.zeros((2, 3, 4)), mask=np.ones((2, 4))))


@pytest.mark.parametrize("name", ["cifar10_resnet20", "face_tiny_xception_kdef", "minifasnetv2_antispoof"])
def test_preprocessing_of_the_zoo_agrees_with_plain_floats(name):
    """The reference resizes in float with Pillow; the difference is the rounding to 8 bits alone."""
    path = ZOO / f"{name}.onnx"
    if not path.is_file():
        pytest.skip("the development zoo is not beside this repository")
    card = json.loads(path.with_suffix(".json").read_text())
    picture = photo(90, 70)
    channels, height, width = card["input_size"]
    planes = [
        np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
        for plane in np.asarray(picture, np.float32).transpose(2, 0, 1).copy()
    ]
    red, green, blue = planes
    ordered = {
        "RGB": [red, green, blue],
        "BGR": [blue, green, red],
        "grey": [0.299 * red + 0.587 * green + 0.114 * blue],
    }
    mean, std = np.array(card["mean"])[:, None, None], np.array(card["std"])[:, None, None]
    expected = (np.stack(ordered[card["colour_order"]]) / 255 - mean) / std
    wanted = registry.get("formats", "onnx").describe(path).preprocessing
    found = IMAGE.make_batch([np.asarray(picture)], wanted)["image"][0]
    assert found.shape == (channels, height, width)
    assert np.abs((found - expected) * std * 255).max() <= 1.01
