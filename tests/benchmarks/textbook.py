"""The plain way to train the same method, to measure against: clear, as a tutorial would have it.

Nothing here is used by the kit. The loss exists in two plain forms: with the two covariances built
and inverted at every step, and with one multivariate normal distribution a sample.
"""

import io
import math

import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from nla.data.images import Augmentation
from nla.naw import NAW

RECIPE = Augmentation()
PAPER = NAW()


def weights_by_inversion(p_gt, p_nn, progress, naw=PAPER):
    """w* (B,): both covariances as tensors, inverted, one quadratic form a sample."""
    points, densities = torch.stack([p_gt, p_nn], 1), []
    for mu, covariance in zip((naw.mu_true, naw.mu_false), naw.covariances(progress), strict=True):
        covariance = torch.tensor(covariance, device=p_gt.device)
        offset = points - torch.tensor(mu, device=p_gt.device)
        distance = torch.einsum("bi,ij,bj->b", offset, torch.linalg.inv(covariance), offset)
        densities.append(
            torch.exp(-0.5 * distance) / (2 * math.pi * torch.linalg.det(covariance).sqrt())
        )
    return torch.where(p_gt >= p_nn, *densities)


def weights_by_distribution(p_gt, p_nn, progress, naw=PAPER):
    """w* (B,): a mean and a covariance for each sample, and the library's density."""
    correct, (true, false) = p_gt >= p_nn, naw.covariances(progress)
    true, false = torch.tensor(true, device=p_gt.device), torch.tensor(false, device=p_gt.device)
    covariances = torch.where(correct[:, None, None], true, false)
    means = torch.where(
        correct[:, None],
        *(torch.tensor(mu, device=p_gt.device) for mu in (naw.mu_true, naw.mu_false)),
    )
    normal = torch.distributions.MultivariateNormal(means, covariances)
    return normal.log_prob(torch.stack([p_gt, p_nn], 1)).exp()


def loss(logits, flipped_logits, targets, progress, weights=weights_by_inversion, lam=0.5):
    """The paper's loss, a scalar, from logits (B, K) of both views."""
    p, q = F.softmax(logits, dim=1), F.softmax(flipped_logits, dim=1)
    mask = F.one_hot(targets, logits.shape[1]).bool()
    p_gt, p_nn = p[mask], p.masked_fill(mask, 0).max(dim=1).values
    weight = weights(p_gt, p_nn, progress).detach()
    cross_entropy = F.cross_entropy(logits, targets, reduction="none")
    log_m = (0.5 * (p + q)).log()
    divergence = 0.5 * (
        F.kl_div(log_m, p, reduction="none") + F.kl_div(log_m, q, reduction="none")
    ).sum(dim=1)
    return (lam * (1 + weight) * cross_entropy + (1 - lam) * divergence).mean()


class Faces(Dataset):
    """Encoded images, decoded and augmented one at a time."""

    def __init__(self, files: list[bytes], labels: list[int]):
        self.files, self.labels = files, labels
        self.transform = transforms.Compose(
            [
                transforms.ToTensor(),
                self.noise,
                transforms.Normalize(RECIPE.mean, RECIPE.std),
                transforms.RandomHorizontalFlip(RECIPE.flip_p),
                transforms.RandomErasing(RECIPE.erase_p, RECIPE.erase_area, RECIPE.erase_ratio),
            ]
        )

    @staticmethod
    def noise(image):
        if torch.rand(()) < RECIPE.noise_p:
            image = (
                image + torch.randn_like(image) * math.sqrt(RECIPE.noise_variance) / 255
            ).clamp(0, 1)
        return image

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        image = self.transform(Image.open(io.BytesIO(self.files[i])).convert("RGB"))
        return image, image.flip(-1), self.labels[i]


def loader(files, labels, batch_size, workers):
    return DataLoader(
        Faces(files, labels),
        batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.accelerator.is_available(),
    )


def train_step(model: nn.Module, optimizer, batch, progress: float, device) -> float:
    """One step: two passes, float32, and a loss that is read at every step."""
    views, flipped, targets = (part.to(device) for part in batch)
    total = loss(model(views).logits, model(flipped).logits, targets, progress)
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
    return total.item()


def epoch(model, optimizer, batches, device):
    """A function that goes once through the loader."""

    def run():
        for batch in batches:
            train_step(model, optimizer, batch, 0.3, device)

    return run
