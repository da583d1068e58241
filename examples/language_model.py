"""A language model on chips: an LSTM that predicts the next letter, measured by its perplexity.

The text is made of eighteen words in random order. The best possible model does not know which word comes
next, but it knows nearly all letters that follow the first. The lower the perplexity, the better.

Prints the table of `evaluate`: perplexity in float, on an ideal chip and on three chips, and what they cost.
"""

import torch
from torch import nn

from experiments import evaluate
from mapping import Recipe, perplexity, train
from mapping.training.losses import LOSSES
from xbar import ProgrammingNoise, load_hardware

torch.set_num_threads(1)
torch.manual_seed(0)
WORDS = "the cell row has one wire and each driver puts its small voltage on two lines of weights".split()
LETTERS = " abcdefghijklmnopqrstuvwxyz"


class LetterModel(nn.Module):
    """Logits (N, T, letters) of the letters that follow those of a text (N, T)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(LETTERS), 16)
        self.lstm = nn.LSTM(16, 32, batch_first=True)
        self.head = nn.Linear(32, len(LETTERS))

    def forward(self, letters: torch.Tensor) -> torch.Tensor:
        """Logits of texts."""
        return self.head(self.lstm(self.embed(letters))[0])


def texts(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts of 24 letters, and the same moved on by one letter."""
    words = [WORDS[i] for i in torch.randint(0, len(WORDS), (count * 8,))]
    letters = torch.tensor([LETTERS.index(letter) for letter in " ".join(words)])
    rows = letters[: count * 25].reshape(count, 25)
    return rows[:, :-1], rows[:, 1:]


model = LetterModel()
x, y = texts(512)
training = [(x[i : i + 32], y[i : i + 32]) for i in range(0, len(x), 32)]
train(model, training, Recipe(epochs=12, lr=2e-2), loss=LOSSES["token-cross-entropy"])

hardware = load_hardware("admm-32x32").replace(device__programming=ProgrammingNoise("lognormal", 0.1))
print(evaluate(model, texts(64), hardware, calibration=training, metric=perplexity(), chips=3))
