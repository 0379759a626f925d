import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Generator

from nla.data.images import Augmentation, augment, mirror, normalize, shrunk, two_views

OFF = Augmentation(noise_p=0, flip_p=0, erase_p=0)


def grey(batch, size=48, value=128):
    return torch.full((batch, 3, size, size), value, dtype=torch.uint8)


def random_images(batch=8, channels=3, size=48):
    return torch.randint(
        0,
        256,
        (batch, channels, size, size),
        dtype=torch.uint8,
        generator=Generator().manual_seed(0),
    )


def test_normalize_is_the_papers():
    images = random_images()
    expected = (images / 255 - torch.tensor(OFF.mean)[:, None, None]) / torch.tensor(OFF.std)[
        :, None, None
    ]
    torch.testing.assert_close(normalize(images, OFF), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        augment(images, OFF, Generator().manual_seed(1)), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(("before", "after"), [(48, 24), (100, 64)])
def test_shrunk_images_are_pillows(before, after):
    """Pillow, too, weighs all pixels that a smaller one covers, and is off by at most rounding."""
    smooth = torch.nn.functional.interpolate(
        random_images(size=8).float(), (before, before), mode="bicubic"
    )
    images = smooth.clamp(0, 255).to(torch.uint8)
    small = shrunk(images, after)
    assert small.dtype == torch.uint8 and shrunk(images, before) is images
    for image, said in zip(images.permute(0, 2, 3, 1).numpy(), small.permute(0, 2, 3, 1).numpy()):
        resized = Image.fromarray(image).resize((after, after), Image.Resampling.BILINEAR)
        assert np.abs(np.asarray(resized).astype(int) - said).max() <= 1


def test_grey_images_use_the_mean_of_the_channels():
    images = random_images(channels=1)
    mean, std = (sum(x) / 3 for x in (OFF.mean, OFF.std))
    torch.testing.assert_close(
        normalize(images, OFF), (images / 255 - mean) / std, rtol=1e-5, atol=1e-5
    )
    with pytest.raises(ValueError, match="1 or 3 channels"):
        normalize(random_images(channels=4), OFF)


def test_pixel_noise_has_the_given_rate_and_variance():
    settings = dataclasses.replace(OFF, noise_p=0.5)
    images = grey(600, 24)
    deviation = (
        (augment(images, settings, Generator().manual_seed(2)) - normalize(images, OFF))
        * torch.tensor(OFF.std)[:, None, None]
        * 255
    )
    touched = deviation.flatten(1).abs().amax(1) > 0
    assert 0.44 < touched.float().mean() < 0.56  # 3 standard errors of a rate of .5 among 600
    assert deviation[touched].var().item() == pytest.approx(30, rel=0.02)


def test_noise_of_a_small_image_is_enlarged_with_it():
    """As where noise, clipping and rounding come first and the image is enlarged afterwards."""
    draw = np.random.default_rng(0)
    flat = np.full((100, 100, 3), 128, np.uint8)
    before = np.clip(flat + draw.normal(0, 30**0.5, flat.shape), 0, 255).astype(np.uint8)
    enlarged = Image.fromarray(before).resize((224, 224), Image.Resampling.BILINEAR)
    expected = torch.from_numpy(np.asarray(enlarged)).float().permute(2, 0, 1)[None]
    settings = dataclasses.replace(OFF, noise_p=1, noise_size=100)
    noisy = augment(grey(4, 224), settings, Generator().manual_seed(0))
    found = (
        noisy * torch.tensor(OFF.std)[:, None, None] + torch.tensor(OFF.mean)[:, None, None]
    ) * 255

    def facts(images):
        left, right = images[..., 1:].flatten(), images[..., :-1].flatten()
        return images.var().item(), torch.corrcoef(torch.stack([left, right]))[0, 1].item()

    variance, correlation = facts(found)
    assert (variance, correlation) == pytest.approx(facts(expected), rel=0.05)
    assert variance == pytest.approx(14, abs=0.7) and correlation == pytest.approx(0.76, abs=0.02)
    white = dataclasses.replace(settings, noise_size=224)
    usual = dataclasses.replace(settings, noise_size=0)
    views = [augment(grey(2, 224), a, Generator().manual_seed(3)) for a in (white, usual)]
    assert torch.equal(*views)


def test_pixel_noise_is_normal_and_independent():
    images = grey(200, 32)
    noisy = augment(images, dataclasses.replace(OFF, noise_p=1), Generator().manual_seed(2))
    noise = (
        (noisy - normalize(images, OFF))
        * torch.tensor(OFF.std)[:, None, None]
        * 255
        / math.sqrt(30)
    )
    for width, share in ((0.5, 0.3829), (1, 0.6827), (2, 0.9545)):
        assert (noise.abs() < width).float().mean().item() == pytest.approx(
            share, abs=0.004
        )  # 256 levels
    assert abs(noise.mean()) < 0.005 and noise.abs().max() < 3
    neighbours = (
        (noise[:, 0], noise[:, 1]),
        (noise[..., 1:], noise[..., :-1]),
        (noise[1:], noise[:-1]),
    )
    for one, other in neighbours:  # channels, pixels, samples
        assert abs((one * other).mean()) < 0.01


def test_shift_is_whole_pixels_with_the_border_repeated():
    images, settings = (
        random_images(1, size=20).expand(600, -1, -1, -1),
        dataclasses.replace(OFF, shift=3),
    )
    shifted = augment(images, settings, Generator().manual_seed(3))
    wide = torch.nn.functional.pad(normalize(images[:1], OFF), (3, 3, 3, 3), mode="replicate")[0]
    windows = (
        wide.unfold(1, 20, 1).unfold(2, 20, 1).flatten(1, 2).transpose(0, 1)
    )  # all 7 x 7 of them
    distance = (shifted[:, None] - windows).flatten(2).abs().amax(2)
    assert distance.amin(1).max() < 1e-3
    hits = torch.bincount(distance.argmin(1), minlength=49)
    assert (
        len(hits) == 49 and ((hits - 600 / 49) ** 2 / (600 / 49)).sum() < 88
    )  # chi-square, 48 degrees, p = .0004


def test_crop_keeps_a_uniform_share_of_the_area_at_a_uniform_place():
    ramp = torch.arange(64, dtype=torch.uint8).expand(64, 64)
    images = torch.stack([ramp, ramp.T, ramp])[None].expand(800, -1, -1, -1)
    crops = augment(images, dataclasses.replace(OFF, crop=0.4), Generator().manual_seed(4))
    x, y, _ = (
        crops * torch.tensor(OFF.std)[:, None, None] + torch.tensor(OFF.mean)[:, None, None]
    ).unbind(1)
    x, y = x[:, 32] * 255, y[:, :, 32] * 255  # which column, which row was taken
    side = (x[:, 48] - x[:, 16]) / 32
    torch.testing.assert_close(
        side, (y[:, 48] - y[:, 16]) / 32, atol=1e-3, rtol=0
    )  # the aspect ratio stays
    area = side**2
    assert 0.4 - 1e-3 < area.min() < 0.42 and 0.98 < area.max() < 1 + 1e-3
    assert abs(area.mean() - 0.7) < 4 * 0.6 / math.sqrt(12 * 800)
    for middle in (x[:, 31:33].mean(1), y[:, 31:33].mean(1)):
        place = (middle - 31.5) / (32 * (1 - side)).clamp(min=1e-3)
        place = place[side < 0.95]
        assert (
            place.abs().max() < 1.02 and abs(place.mean()) < 0.1 and abs(place.var() - 1 / 3) < 0.05
        )


def test_what_is_off_changes_no_draw():
    images = random_images()
    before, after = (
        augment(images, recipe, Generator().manual_seed(6))
        for recipe in (Augmentation(), Augmentation(shift=0, crop=1.0))
    )
    assert torch.equal(before, after)
    assert before.abs().mean((1, 2, 3)).tolist() == pytest.approx(
        [1.0474, 1.0378, 0.9712, 0.7753, 0.9599, 0.8997, 0.8735, 1.0528], abs=2e-4
    )


def test_a_large_batch_is_worked_on_in_parts():
    images = grey(400, 64, 200)
    views = augment(images, dataclasses.replace(OFF, noise_p=1), Generator().manual_seed(8))
    assert len({tuple(view) for view in views[:, 0, 0].tolist()}) == 400  # no two parts alike


def test_flip_rate_and_exactness():
    images = random_images(1).expand(800, -1, -1, -1)
    views = augment(images, dataclasses.replace(OFF, flip_p=0.5), Generator().manual_seed(3))
    plain = normalize(images[:1], OFF)
    same = (views == plain).flatten(1).all(1)
    flipped = (views == mirror(plain)).flatten(1).all(1)
    assert (same ^ flipped).all()
    assert 0.44 < flipped.float().mean() < 0.56


@pytest.mark.parametrize("size", [48, 224])
def test_erased_area_and_rate(size):
    count = 600 if size == 48 else 150
    settings = dataclasses.replace(OFF, erase_p=0.5)
    erased = augment(grey(count, size), settings, Generator().manual_seed(4)) == 0
    share = erased[:, 0].flatten(1).float().mean(1)
    assert torch.equal(erased[:, 0], erased[:, 2])  # all channels alike
    hit = share > 0
    assert abs(hit.float().mean() - 0.5) < 3 * math.sqrt(0.25 / count)
    assert 0.01 < share[hit].min() and share[hit].max() < 0.31
    assert abs(share[hit].mean() - 0.16) < 0.02  # uniform on [.02, .30]
    rows, columns = erased[hit][:, 0].any(2), erased[hit][:, 0].any(1)
    boxes = rows.sum(1) * columns.sum(1)
    assert torch.equal(boxes, erased[hit][:, 0].flatten(1).sum(1))  # one full rectangle each


def test_the_second_view_is_exactly_the_mirror_of_the_first():
    views = two_views(augment(random_images(), Augmentation(), Generator().manual_seed(5)))
    first, second = views.chunk(2)
    assert torch.equal(second, first.flip(-1)) and torch.equal(mirror(second), first)


def test_randomness_comes_from_the_generator_alone():
    images = random_images()
    first, again, other = (
        augment(images, Augmentation(), Generator().manual_seed(s)) for s in (7, 7, 8)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    dark, light = Generator().manual_seed(9), Generator().manual_seed(9)
    augment(images // 4, Augmentation(), dark), augment(images, Augmentation(), light)
    assert torch.equal(dark.get_state(), light.get_state())
