"""An epoch on a GPU that need not be there, on PyTorch's fake tensors.

These have a shape, a dtype and a device, and no values: what mixes devices fails, and so does what
would wait for a value inside the epoch. Left out is what needs the device itself: the backward
pass, and its generator's numbers.
"""

from threading import Event

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch._subclasses import fake_tensor
from tqdm import tqdm

from nla import models, naw
from nla.data import images
from nla.losses import VARIANTS, LossTerms
from nla.methods import LOSSES
from nla.training import inference
from nla.training import loop as training
from nla.training import state as making
from nla.training.config import Config
from nla.training.processes import World

GPU, COUNT = torch.device("cuda", 0), 70


class EpochIsOver(Exception):
    pass


class GeneratorThere(torch.Generator):
    """A generator whose numbers go to the GPU."""

    device = GPU

    def __new__(cls, device=None):
        return super().__new__(cls)


def move(module, device, memory_format=None):
    """``nn.Module.to``, by new parameters: fake ones cannot be exchanged in place."""
    for part in module.modules():
        for name, tensor in part._parameters.items():
            part._parameters[name] = (
                None if tensor is None else nn.Parameter(tensor.detach().to(device))
            )
        for name, tensor in part._buffers.items():
            part._buffers[name] = None if tensor is None else tensor.to(device)
    return module


def forget():
    for cached in (images._statistics, images._quantiles, naw.density_constants):
        cached.cache_clear()


@pytest.fixture
def gpu(monkeypatch):
    """Fake tensors, on a GPU that can do bf16."""
    monkeypatch.setattr(nn.Module, "to", move)
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    forget()
    with fake_tensor.FakeTensorMode():
        yield GPU
    forget()


@pytest.fixture
def epoch(gpu, monkeypatch, tmp_path):
    """A function from a config to the state after the last step of the first epoch."""

    def end(*_):
        raise EpochIsOver

    monkeypatch.setattr(training, "check_finite", end)  # where the record is read, once an epoch
    monkeypatch.setattr(training, "Generator", GeneratorThere)
    monkeypatch.setattr(making, "Generator", GeneratorThere)
    monkeypatch.setattr(
        torch, "bincount", lambda labels, minlength: labels.new_ones(minlength)
    )  # it waits, once

    def run(config):
        pixels = torch.zeros(COUNT, 3, config.size, config.size, dtype=torch.uint8, device=gpu)
        manifest = pd.DataFrame({"label": np.arange(COUNT) % 7, "true_label": 0, "split": "train"})
        task = training.Task(config, tmp_path, World(0, 1, gpu), pixels, manifest)
        labels = torch.zeros(COUNT, dtype=torch.long, device=gpu)
        vars(task).update(train=torch.arange(COUNT), labels=labels)
        state = training.prepare(task)
        parameters = [*state.model.parameters(), *state.method.parameters()]

        def backward(_):
            for parameter in parameters:
                parameter.grad = torch.zeros_like(parameter)

        monkeypatch.setattr(torch.Tensor, "backward", backward)
        with pytest.raises(EpochIsOver):
            training.train_epoch(
                task, state, training.shared(state.model, task), tqdm(disable=True), Event()
            )
        return state

    return run


@pytest.mark.parametrize(
    "loss, variant", [*((loss, "paper") for loss in LOSSES), *(("nla", v) for v in VARIANTS[1:])]
)
def test_an_epoch_stays_on_its_device_and_waits_for_no_value(epoch, loss, variant, monkeypatch):
    seen = set()
    monkeypatch.setattr(
        training, "outputs", lambda *a, original=training.outputs: note(original(*a), seen)
    )
    state = epoch(Config(loss=loss, variant=variant))
    assert seen == {(torch.bfloat16, GPU)}  # the network's, by default on a GPU
    assert state.step == len(state.record) == 3  # of 32, 32 and 6 images
    for step in state.record:
        assert {tensor.device for tensor in step.values()} == {GPU}
        assert (
            step["weight"].dtype
            == step["cross_entropy"].dtype
            == step["loss"].dtype
            == torch.float32
        )
    kept = [*state.method.parameters(), *state.method.buffers()]
    assert {tensor.device for tensor in kept} <= {GPU}


def note(views, seen):
    seen.update((view.logits.dtype, view.logits.device) for view in views if view is not None)
    return views


@pytest.mark.parametrize(
    "fault, error",
    [
        (
            lambda terms: terms.total + terms.weight.max().item(),
            fake_tensor.DataDependentOutputException,
        ),
        (
            lambda terms: terms.total + terms.weight[terms.weight > 1].sum(),
            fake_tensor.DynamicOutputShapeException,
        ),
        (lambda terms: terms.total + torch.ones(2).mean(0, keepdim=True), RuntimeError),
    ],
)
def test_a_method_that_waits_or_mixes_devices_is_found(epoch, fault, error, monkeypatch):
    method = LOSSES["cross_entropy"]

    def faulty(self, *inputs, original=method.forward) -> LossTerms:
        terms = original(self, *inputs)
        return terms._replace(total=fault(terms))

    monkeypatch.setattr(method, "forward", faulty)
    with pytest.raises(
        error, match="same device|different devices" if error is RuntimeError else None
    ):
        epoch(Config(loss="cross_entropy"))


@pytest.mark.parametrize("resident", [True, False])
def test_held_out_images_are_scored_on_the_device_of_the_model(gpu, resident):
    model = models.small_resnet(7, 3).to(gpu)
    pixels = torch.zeros(
        20, 1, 48, 48, dtype=torch.uint8, device=gpu if resident else "cpu"
    )  # grey: given as colour
    for part, width in zip(
        inference.forward(model, pixels, np.arange(10), Config(), flip=True), (7, 96), strict=True
    ):
        assert (part.device.type, part.dtype, part.shape) == ("cpu", torch.float32, (10, width))
