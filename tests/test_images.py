import dataclasses
import math

import pytest
import torch
from torch import Generator

from nla.data.images import Augmentation, augment, mirror, normalize, two_views

OFF = Augmentation(noise_p=0, flip_p=0, erase_p=0)


def grey(batch, size=48, value=128):
    return torch.full((batch, 3, size, size), value, dtype=torch.uint8)


def random_images(batch=8, channels=3, size=48):
    return torch.randint(0, 256, (batch, channels, size, size), dtype=torch.uint8,
                         generator=Generator().manual_seed(0))


def test_normalize_is_the_papers():
    images = random_images()
    expected = (images / 255 - torch.tensor(OFF.mean)[:, None, None]) / torch.tensor(OFF.std)[:, None, None]
    torch.testing.assert_close(normalize(images, OFF), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(augment(images, OFF, Generator().manual_seed(1)), expected, rtol=1e-5, atol=1e-5)


def test_grey_images_use_the_mean_of_the_channels():
    images = random_images(channels=1)
    mean, std = (sum(x) / 3 for x in (OFF.mean, OFF.std))
    torch.testing.assert_close(normalize(images, OFF), (images / 255 - mean) / std, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        normalize(random_images(channels=4), OFF)


def test_pixel_noise_has_the_given_rate_and_variance():
    settings = dataclasses.replace(OFF, noise_p=0.5)
    images = grey(600, 24)
    deviation = (augment(images, settings, Generator().manual_seed(2)) - normalize(images, OFF)) \
        * torch.tensor(OFF.std)[:, None, None] * 255
    touched = deviation.flatten(1).abs().amax(1) > 0
    assert 0.44 < touched.float().mean() < 0.56  # 3 standard errors of a rate of .5 among 600
    assert deviation[touched].var().item() == pytest.approx(30, rel=0.02)


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
    first, again, other = (augment(images, Augmentation(), Generator().manual_seed(s)) for s in (7, 7, 8))
    assert torch.equal(first, again) and not torch.equal(first, other)
    dark, light = Generator().manual_seed(9), Generator().manual_seed(9)
    augment(images // 4, Augmentation(), dark), augment(images, Augmentation(), light)
    assert torch.equal(dark.get_state(), light.get_state())
