"""The benchmarks' own measure: what a computation must take at least."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
import roofline  # noqa: E402


@pytest.fixture
def count(monkeypatch):
    """A roofline on a machine of 1,000 operations and 10 bytes a second."""
    monkeypatch.setattr(roofline, "matmul_rate", lambda device, dtype: 1000.0)
    monkeypatch.setattr(roofline, "copy_rate", lambda device: 10.0)
    return roofline.Roofline(torch.device("cpu"))


def test_operations_and_bytes_by_hand(count):
    a, b = torch.ones(4, 5), torch.ones(5, 6)
    with count:
        a @ b
    assert count.flops == 2 * 4 * 5 * 6 and count.bytes == 4 * (20 + 30 + 24)
    assert count.seconds == pytest.approx(29.6)  # its 296 bytes, not its 240 operations
    with count:
        a.T.reshape(4, 5).relu()  # the view is free; a copy and relu read and write 20 numbers each
    assert count.flops == 240 and count.bytes == 296 + 4 * 20 * 4


def test_a_convolution_costs_its_operations_forward_and_twice_backward(count):
    count.copy_rate = float("inf")
    layer, images = (
        nn.Conv2d(8, 16, 3, padding=1, bias=False),
        torch.randn(2, 8, 10, 10, requires_grad=True),
    )
    forward = 2 * 2 * 100 * 16 * 8 * 9
    with count:
        layer(images).sum().backward()
    assert count.flops == 3 * forward and count.seconds == pytest.approx(3 * forward / 1000)


def test_rates_are_those_of_a_machine():
    device = torch.device("cpu")
    assert 1e8 < roofline.matmul_rate(device, torch.float32) < 1e14
    assert 1e7 < roofline.copy_rate(device) < 1e13
