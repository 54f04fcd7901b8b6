"""Every kind of picture file has one outcome."""

from io import BytesIO

import icc_profiles
import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from torchvision.transforms import functional as F

from i2icli.errors import DataError, I2IError
from i2icli.pictures.images import from_tensor, read_picture, read_size, to_tensor, write_picture

ORIENTATION = 0x0112
# What a viewer does to the stored picture to show it upright, as NumPy operations.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


def colours(height=5, width=7, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def save(path, image, **options):
    image.save(path, **options)
    return path


def exif(orientation):
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(tmp_path, suffix, orientation):
    stored = colours()
    options = {"lossless": True} if suffix == ".webp" else {}
    path = tmp_path / f"a{suffix}"
    save(path, Image.fromarray(stored), exif=exif(orientation), **options)
    upright = UPRIGHT[orientation](stored)

    assert np.array_equal(read_picture(path).pixels, upright)
    assert read_size(path) == (upright.shape[1], upright.shape[0])


@pytest.mark.parametrize("orientation", [3, 6])
def test_jpeg_orientation_is_applied(tmp_path, orientation):
    stored = np.zeros((16, 24, 3), np.uint8)
    stored[:8, :8] = 255  # the upper left corner
    path = save(tmp_path / "a.jpg", Image.fromarray(stored), exif=exif(orientation))

    upright = UPRIGHT[orientation](stored)
    pixels = read_picture(path).pixels
    assert pixels.shape == upright.shape
    assert np.abs(pixels.astype(int) - upright).mean() < 4
    assert read_size(path) == (upright.shape[1], upright.shape[0])


def test_orientation_behind_the_pixels_of_a_png_counts_everywhere(tmp_path):
    stored = colours()
    plain = BytesIO()
    Image.fromarray(stored).save(plain, "PNG")
    chunk = BytesIO()
    PngImagePlugin.putchunk(chunk, b"eXIf", exif(6).tobytes().removeprefix(b"Exif\0\0"))
    path = tmp_path / "a.png"
    path.write_bytes(plain.getvalue()[:-12] + chunk.getvalue() + plain.getvalue()[-12:])

    assert np.array_equal(read_picture(path).pixels, UPRIGHT[6](stored))
    assert read_size(path) == (5, 7)


def test_broken_exif_leaves_the_picture_as_it_is_stored(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(colours()), exif=b"Exif\0\0MM\0*\xff\xff\xff")
    assert np.array_equal(read_picture(path).pixels, colours())


def test_alpha_is_kept_apart_and_turned_with_the_picture(tmp_path):
    stored = colours(channels=4)
    path = save(tmp_path / "a.png", Image.fromarray(stored), exif=exif(6))
    picture = read_picture(path)
    upright = UPRIGHT[6](stored)
    assert np.array_equal(picture.pixels, upright[..., :3])
    assert np.array_equal(picture.alpha, upright[..., 3])


def test_grey_with_alpha_keeps_both(tmp_path):
    grey, alpha = colours(channels=2).transpose(2, 0, 1)
    image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    picture = read_picture(save(tmp_path / "a.png", image), channels=None)
    assert np.array_equal(picture.pixels[..., 0], grey)
    assert picture.pixels.shape[2] == 1
    assert np.array_equal(picture.alpha, alpha)


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 128])])
def test_palette_transparency_becomes_alpha(tmp_path, transparency):
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    picture = read_picture(save(tmp_path / "a.png", image, transparency=transparency))
    assert picture.pixels.tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]
    last = 128 if isinstance(transparency, bytes) else 255
    assert picture.alpha.tolist() == [[255, 0, last]]


@pytest.mark.parametrize(
    ("mode", "values", "transparency"),
    [("L", [10, 20], 20), ("1", [255, 0], 0), ("RGB", [(1, 2, 3), (4, 5, 6)], (4, 5, 6))],
)
def test_a_transparent_colour_becomes_alpha(tmp_path, mode, values, transparency):
    image = Image.new(mode, (2, 1))
    image.putdata(values)
    picture = read_picture(save(tmp_path / "a.png", image, transparency=transparency))
    assert picture.alpha.tolist() == [[255, 0]]


def test_opaque_pictures_have_no_alpha(tmp_path):
    assert read_picture(save(tmp_path / "a.png", Image.fromarray(colours()))).alpha is None


@pytest.mark.parametrize(
    ("mode", "values", "expected"),
    [("P", [1, 0], [[1, 2, 3], [9, 8, 7]]), ("1", [255, 0], [[255], [0]])],
    ids=["palette", "one bit"],
)
def test_indices_become_what_they_stand_for(tmp_path, mode, values, expected):
    image = Image.new(mode, (2, 1))
    if mode == "P":
        image.putpalette([9, 8, 7, 1, 2, 3])
    image.putdata(values)
    picture = read_picture(save(tmp_path / "a.png", image), channels=None)
    assert picture.pixels.tolist() == [expected]


@pytest.mark.parametrize(("channels", "shape"), [(None, 1), (1, 1), (3, 3)])
def test_grey_has_the_channels_asked_for(tmp_path, channels, shape):
    grey = colours(channels=1)
    path = save(tmp_path / "a.png", Image.fromarray(grey[..., 0]))
    pixels = read_picture(path, channels=channels).pixels
    assert pixels.shape == (5, 7, shape)
    assert (pixels == grey).all()


def test_colour_becomes_grey_exactly_as_pillow_does_it(tmp_path):
    image = Image.fromarray(colours(40, 50))
    pixels = read_picture(save(tmp_path / "a.png", image), channels=1).pixels
    assert np.array_equal(pixels[..., 0], np.asarray(image.convert("L")))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_grey_of_16_bits_is_kept(tmp_path, suffix, channels):
    grey = np.array([[0, 1, 256, 65535]], np.uint16)
    picture = read_picture(save(tmp_path / f"a{suffix}", Image.fromarray(grey)), channels=channels)
    assert picture.pixels.dtype == np.uint16
    assert picture.bits == 16
    assert (picture.pixels == grey[..., None]).all()
    assert picture.pixels.shape == (1, 4, channels or 1)


def test_a_transparent_grey_of_16_bits_becomes_alpha(tmp_path):
    image = Image.fromarray(np.array([[7, 300]], np.uint16))
    picture = read_picture(save(tmp_path / "a.png", image, transparency=300))
    assert picture.alpha.dtype == np.uint16
    assert picture.alpha.tolist() == [[65535, 0]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 70, 65535]], np.int32), [0, 70, 65535]),
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 32768, 65535]),
        (np.array([[0.0, 1.6, 300.0]], np.float32), [0, 2, 300]),
    ],
)
def test_deeper_grey_becomes_16_bits(tmp_path, values, expected):
    path = save(tmp_path / "a.tiff", Image.fromarray(values))
    assert read_picture(path, channels=1).pixels[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0, 65536]], np.int32),
        np.array([[-1.0, 1.0]], np.float32),
        np.array([[np.nan, 1.0]], np.float32),
    ],
)
def test_grey_beyond_16_bits_is_refused(tmp_path, values):
    path = save(tmp_path / "a.tiff", Image.fromarray(values))
    with pytest.raises(DataError, match=r"a\.tiff holds values from .* may hold 0 to 65535"):
        read_picture(path)


def test_colour_of_16_bits_is_reduced_to_8(tmp_path):
    deep = np.array([[[0, 257 * 100, 65535], [257, 514, 771]]], np.uint16)
    write_picture(tmp_path / "a.png", deep)
    picture = read_picture(tmp_path / "a.png")
    assert picture.pixels.tolist() == [[[0, 100, 255], [1, 2, 3]]]


def test_cmyk_without_a_profile_is_converted_as_pillow_does(tmp_path):
    image = Image.frombytes("CMYK", (7, 5), colours(channels=4).tobytes())
    path = save(tmp_path / "a.tiff", image)
    assert np.array_equal(read_picture(path).pixels, np.asarray(image.convert("RGB")))


def test_cmyk_with_a_profile_is_converted_by_it(tmp_path):
    image = Image.new("CMYK", (1, 1), (255, 0, 0, 0))
    profile = icc_profiles.cmyk_with_green_cyan()
    red, green, blue = read_picture(save(tmp_path / "a.tiff", image, icc_profile=profile)).pixels[
        0, 0
    ]
    assert green > red + 50
    assert green > blue + 50


def test_an_embedded_profile_is_converted_to_srgb(tmp_path):
    image = Image.new("RGB", (1, 1), (255, 0, 0))
    path = save(tmp_path / "a.png", image, icc_profile=icc_profiles.swapped_rgb())
    assert np.abs(read_picture(path).pixels[0, 0].astype(int) - [0, 255, 0]).max() <= 2


def test_a_profile_is_applied_below_alpha(tmp_path):
    image = Image.new("RGBA", (1, 1), (255, 0, 0, 9))
    path = save(tmp_path / "a.png", image, icc_profile=icc_profiles.swapped_rgb())
    picture = read_picture(path)
    assert picture.pixels[0, 0].argmax() == 1
    assert picture.alpha.tolist() == [[9]]


def test_a_grey_profile_changes_the_tone(tmp_path):
    image = Image.new("L", (1, 1), 128)
    path = save(tmp_path / "a.png", image, icc_profile=icc_profiles.linear_grey())
    picture = read_picture(path, channels=None)
    assert picture.pixels.shape == (1, 1, 1)
    assert abs(int(picture.pixels[0, 0, 0]) - 188) <= 2  # sRGB's value for half the light


@pytest.mark.parametrize(
    "profile", [icc_profiles.srgb(), b"not a profile", icc_profiles.linear_grey()]
)
def test_srgb_and_unfit_profiles_leave_the_values_alone(tmp_path, profile):
    path = save(tmp_path / "a.png", Image.fromarray(colours()), icc_profile=profile)
    assert np.array_equal(read_picture(path).pixels, colours())


def test_lab_becomes_colour(tmp_path):
    image = Image.new("LAB", (1, 1), (255, 128, 128))
    pixels = read_picture(save(tmp_path / "a.tiff", image)).pixels
    assert (pixels >= 250).all()


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".tiff", ".png"])
def test_the_first_of_several_frames_is_read(tmp_path, suffix):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    options = {"lossless": True} if suffix == ".webp" else {}
    path = tmp_path / f"a{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    assert read_picture(path).pixels[0, 0].tolist() == [255, 0, 0]


def test_the_content_decides_the_format_not_the_suffix(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(colours()).save(path, "BMP")
    picture = read_picture(path)
    assert picture.format == "BMP"
    assert picture.path == path
    assert np.array_equal(picture.pixels, colours())


def test_reading_does_not_change_pillows_settings(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    read_picture(save(tmp_path / "a.png", Image.fromarray(colours())))
    assert before == Image.MAX_IMAGE_PIXELS


def test_tensors_equal_those_of_torchvision_bit_for_bit():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    reference = F.normalize(F.to_tensor(pixels), [0.5] * 3, [0.5] * 3)
    assert torch.equal(to_tensor(pixels), reference)


@pytest.mark.parametrize(("dtype", "bits"), [(np.uint8, 8), (np.uint16, 16)])
def test_every_value_survives_the_way_to_a_tensor_and_back(dtype, bits):
    pixels = np.arange(2**bits, dtype=dtype).reshape(-1, 16, 1)
    tensor = to_tensor(pixels)
    assert tensor.min() == -1
    assert tensor.max() == 1
    back = from_tensor(tensor, bits=bits)
    assert back.dtype == dtype
    assert np.array_equal(back, pixels)


def test_values_are_rounded_not_truncated_and_clipped_beyond_the_range():
    values = torch.tensor([[[2 * 99.9 / 255 - 1, -3.0, 3.0]]])
    assert from_tensor(values).ravel().tolist() == [100, 0, 255]


def test_a_tensor_with_nan_is_refused():
    with pytest.raises(I2IError, match="not a number"):
        from_tensor(torch.tensor([[[0.0, float("nan")]]]))
