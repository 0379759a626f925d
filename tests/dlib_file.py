"""A file as dlib writes one of its face recognition network, with random numbers, for tests."""

from pathlib import Path

import numpy as np

from nla.face_resnet import BLOCKS, DESCRIPTOR, LATENT, STEM


def integer(value: int) -> bytes:
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def integers(*values: int) -> bytes:
    return b"".join(map(integer, values))


def text(value: str) -> bytes:
    return integer(len(value)) + value.encode()


def array(values: np.ndarray) -> bytes:
    """Of two axes; the other two of dlib's four sizes are 1."""
    return integers(2, *values.shape, 1, 1) + values.astype("<f4").tobytes()


NOTHING = integers(2, 0, 0, 0, 0)
REST = b"110" + 3 * NOTHING  # is it set up, is its gradient stale, ...; what training would fill
FLOATS = integers(16, -4, 16, -4, 16, -4, 0, 11)  # 1, 1, 1 and 0: mantissa and exponent


def convolution(draw: np.random.Generator, kernel: tuple[int, ...], stride: int) -> bytes:
    channels, _, height, width = kernel
    weights = draw.normal(size=int(np.prod(kernel))) / np.sqrt(np.prod(kernel[1:]))
    numbers = np.concatenate([weights, draw.normal(size=channels) / 10])[:, None]
    padding = 0 if stride == 2 else 1
    facts = integers(channels, height, width, stride, stride, padding, padding)
    views = integers(1, *kernel, 1, 1, channels, 1, 1)
    return text("con_4") + array(numbers) + facts + views + FLOATS + REST


def affine(draw: np.random.Generator, channels: int) -> bytes:
    gamma, beta = draw.uniform(0.5, 1.5, channels), draw.normal(size=channels)
    numbers = np.concatenate([gamma, beta])[:, None]
    views = integers(1, 1, channels, 1, 1, 1, 1, channels, 1, 1)
    return text("affine_") + array(numbers) + views + integers(0) + REST


def layer(name: str, *values: int) -> bytes:
    return text(name) + integers(*values) + REST


def parts(seed: int = 0) -> list[bytes]:
    """The file's parts from input to output; put together they are a file."""
    draw = np.random.default_rng(seed)
    loss = integers(1) + text("loss_metric_2") + integers(10606378, -28, 8493465, -24)
    versions = integers(2, 2, 2, 1, 1, 2, 3)
    mean = integers(16_905_616, -17, 16_776_585, -17, 15_765_651, -17)
    found = [loss, versions, text("input_rgb_image_sized"), mean, integers(150, 150)]
    found += [convolution(draw, (STEM, 3, 7, 7), 2), integers(1), affine(draw, STEM)]
    found += [layer("relu_"), layer("max_pool_2", 3, 3, 2, 2, 0, 0)]
    for channels_in, channels, stride in BLOCKS:
        found += [convolution(draw, (channels, channels_in, 3, 3), stride), affine(draw, channels)]
        found += [layer("relu_")]
        found += [convolution(draw, (channels, channels, 3, 3), 1), affine(draw, channels)]
        if stride == 2:
            found.append(layer("avg_pool_2", 2, 2, 2, 2, 0, 0))
        found += [layer("add_prev_"), layer("relu_")]
    found.append(layer("avg_pool_2", 0, 0, 1, 1, 0, 0))
    matrix = array(draw.normal(size=(LATENT, DESCRIPTOR)))
    views = integers(1, LATENT, DESCRIPTOR, 1, 1, 1, 0, 0, 0, 0)
    found.append(text("fc_2") + integers(DESCRIPTOR, LATENT) + matrix)
    found.append(views + integers(1) + FLOATS + REST)
    return found


def write_dlib(path: Path, seed: int = 0) -> Path:
    path.write_bytes(b"".join(parts(seed)))
    return path
