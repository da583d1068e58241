"""Segmentation on chips: a tiny U-Net, measured by its mean intersection over union.

Pictures hold a bright disc and a dark square on a noisy ground; every pixel belongs to one of three classes.
A study can use the same file, without any further code:

    xbar run digits --network examples/segmentation.py:UNet --metric mean-iou \\
        --set data=examples/segmentation.py:data --set compress.layers=[] --set compress.rate=1

Prints the table of `evaluate`: mean IoU in float, on an ideal chip and on five chips, and what they cost.
"""

import torch
from torch import nn

from experiments import evaluate
from mapping import Recipe, mean_iou, train
from xbar import ProgrammingNoise, load_hardware


class UNet(nn.Module):
    """Two levels down and up again, with the fine features of the way down joined on the way up."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        self.coarse = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.head = nn.Sequential(nn.Conv2d(16, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, 3, H, W) of pictures (N, 1, H, W)."""
        fine = self.fine(x)
        return self.head(torch.cat([fine, self.up(self.coarse(fine))], 1))


def pictures(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (N, 1, 16, 16) and the class of each pixel: ground, disc, square."""
    chance = torch.Generator().manual_seed(seed)
    rows, cols = torch.arange(16)[:, None], torch.arange(16)[None]
    disc, square = torch.randint(3, 13, (2, 2, count, 1, 1), generator=chance)
    y = ((rows - disc[0]) ** 2 + (cols - disc[1]) ** 2 <= 9).long()
    y[((rows - square[0]).abs() <= 2) & ((cols - square[1]).abs() <= 2)] = 2
    level = torch.tensor([0.5, 0.9, 0.1])[y]
    return (level + 0.2 * torch.randn(count, 16, 16, generator=chance))[:, None], y


def data() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The parts train and test, as the key `data` of a study takes them."""
    return {"train": pictures(512, 0), "test": pictures(128, 1)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = UNet()
    x, y = data()["train"]
    training = [(x[i : i + 32], y[i : i + 32]) for i in range(0, len(x), 32)]
    train(model, training, Recipe(epochs=8, lr=1e-2))
    hardware = load_hardware("admm-32x32").replace(device__programming=ProgrammingNoise("lognormal", 0.1))
    print(evaluate(model, data()["test"], hardware, calibration=training, metric=mean_iou(), chips=5))
