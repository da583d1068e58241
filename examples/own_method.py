"""A constraint and a training method of your own.

The constraint is the set of matrices with at most `count` weights in each column, so that every output of a
layer has equally many cells. A constraint is any object with `project`, which gives the nearest point of
its set and a mask, and `exact`. Admm draws the weights to the set while they are trained.

The method hooks into the one training loop. It puts an error on every weight in the forward pass and takes it
away after the backward pass, so that the network learns weights that bear such errors.

Prints how many weights stay, the accuracy after ADMM and after the retraining with the method, and the mean
accuracy of 20 chips whose writes are off by 30 % (log-normal), with and without the method.
"""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from experiments.inputs.batches import Batches
from experiments.inputs.data import load
from mapping import (
    Admm,
    Masked,
    Recipe,
    accuracy,
    calibrate,
    chip_accuracy,
    map_network,
    sample_chips,
    train,
)
from mapping.training.method import Method
from xbar import ProgrammingNoise, load_hardware


@dataclass(frozen=True)
class LargestOfColumn:
    """GEMM matrices (K, N) with at most `count` weights other than zero in each column."""

    count: int
    exact: bool = True  # the largest magnitudes are the nearest point

    def project(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The nearest point of the set, and the mask of the weights that it keeps, both (K, N)."""
        kept = v.abs().topk(min(self.count, len(v)), dim=0).indices
        mask = torch.zeros_like(v, dtype=torch.bool).scatter_(0, kept, True)
        return v * mask, mask


class NoisyWeights(Method):
    """Log-normal errors of the weights in the forward pass, with `sigma` the deviation of ln w."""

    def __init__(self, sigma: float) -> None:
        self.sigma = sigma
        self.clean: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def before_forward(self, model: nn.Module) -> None:
        """Keep the weights, and put noisy ones in their place."""
        for name, weight in model.named_parameters():
            if name.endswith("weight"):
                self.clean[name] = weight.clone()
                weight *= torch.exp(self.sigma * torch.randn_like(weight) - self.sigma**2 / 2)

    @torch.no_grad()
    def after_backward(self, model: nn.Module) -> None:
        """Put the clean weights back; the gradients are those at the noisy ones."""
        for name, clean in self.clean.items():
            model.get_parameter(name).copy_(clean)


torch.set_num_threads(1)
torch.manual_seed(0)
data = load("digits", None)
batches = Batches(data.train_x, data.train_y, 64, shuffle=True)
test = Batches(data.test_x, data.test_y, 256)
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
train(model, batches, Recipe(epochs=15, lr=5e-3))

admm = Admm(model, {"1": LargestOfColumn(16), "3": LargestOfColumn(16)}, interval=2)
train(model, batches, Recipe(epochs=20, lr=2e-3), methods=[admm], stage="admm")
masks = admm.finish(model)
kept, total = (sum(int(count(mask)) for mask in masks.values()) for count in (torch.sum, torch.numel))
print(f"{kept} of {total} weights stay; accuracy {accuracy(model, test):.2f} %")

hardware = load_hardware("admm-32x32").replace(
    encoding__slices=2, device__programming=ProgrammingNoise("lognormal", 0.3)
)
for label, more in (("without", []), ("with", [NoisyWeights(0.3)])):
    network = copy.deepcopy(model)
    methods = [Masked(network, masks), *more]
    train(network, batches, Recipe(epochs=30, lr=5e-3), methods=methods, stage="retrain")
    mapped = map_network(network, hardware, data.train_x[:1], masks=masks)
    mapped, _ = calibrate(mapped, network, batches)
    chips = sample_chips(lambda chip, on=mapped, of=network: chip_accuracy(on, of, test, chip=chip), most=20)
    print(
        f"retrained {label} noisy weights: {accuracy(network, test):.2f} %, "
        f"chips {chips.mean:.2f} +- {chips.half_width:.2f} %"
    )
