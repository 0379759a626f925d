"""The least a computation can take on this machine: the roofline (Williams et al., CACM 2009) of
each operation.

An operation takes no less than its floating-point operations at the rate of a large matrix product,
and no less than the bytes of its inputs and outputs at the rate of a copy; both rates are the best
that were measured here. Operations are not merged with their neighbours, as they are not in eager
PyTorch; views are free.
"""

import time

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


def timed(function, device, calls=1):
    """Seconds of one of ``calls`` calls in a row."""
    settle(device)
    began = time.perf_counter()
    for _ in range(calls):
        function()
    settle(device)
    return (time.perf_counter() - began) / calls


def settle(device):
    if device.type != "cpu":
        torch.accelerator.synchronize()


def matmul_rate(device, dtype):
    """Floating-point operations a second, in products of large square matrices."""
    size, calls = (2048, 6) if device.type == "cpu" else (8192, 20)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / min(timed(lambda: a @ b, device) for _ in range(calls))


def copy_rate(device):
    """Bytes read and written a second, by the fastest copy of 1 to 256 MB: within a cache, if one
    is that large.
    """
    rates = []
    for size in (2**20, 2**22, 2**24, 2**26, 2**28):
        source = torch.ones(size // 4, device=device)
        target = torch.empty_like(source)
        rates.append(
            2 * size / min(timed(lambda s=source, t=target: t.copy_(s), device) for _ in range(20))
        )
    return max(rates)


class Roofline(TorchDispatchMode):
    """Operations within it run as ever and are added up: ``flops``, ``bytes``, and ``seconds``, the
    least they take.
    """

    def __init__(self, device, dtypes=(torch.float32,)):
        super().__init__()
        self.rates, self.copy_rate = (
            {dtype: matmul_rate(device, dtype) for dtype in dtypes},
            copy_rate(device),
        )
        self.flops = self.bytes = self.seconds = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        options = options or {}
        result = function(*arguments, **options)
        tensors = [
            leaf
            for leaf in tree_leaves((arguments, options, result))
            if isinstance(leaf, torch.Tensor)
        ]
        if tensors and not function.is_view and function is not torch.ops.aten._unsafe_view.default:
            seconds = sum(tensor.nbytes for tensor in tensors) / self.copy_rate
            if count := flop_registry.get(function._overloadpacket):
                flops = count(*arguments, **options, out_val=result)
                self.flops, seconds = (
                    self.flops + flops,
                    max(seconds, flops / self.rates[tensors[0].dtype]),
                )
            self.bytes, self.seconds = (
                self.bytes + sum(t.nbytes for t in tensors),
                self.seconds + seconds,
            )
        return result
