"""One study in two simulators, written into docs/coming-from-aihwkit.md and docs/coming-from-crosssim.md.

It needs both simulators: `pip install aihwkit` (1.1 here; its torch tiles), and a checkout of
https://github.com/sandialabs/cross-sim (3.1) on PYTHONPATH. Their parameters go through `from_aihwkit` and
`from_crosssim`; the network, its data and its weights are the same on both sides.

    PYTHONPATH=cross-sim python docs/other_tools.py
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from aihwkit.nn.conversion import convert_to_analog
from aihwkit.simulator.configs import TorchInferenceRPUConfig
from simulator import AnalogCore, CrossSimParameters
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mapping import Choice, Recipe, analog_network, calibrate, map_network, program_network, train
from xbar import Hardware, from_aihwkit, from_crosssim

HERE = Path(__file__).parent
DRAWS = 100
TIMES = {"after the write": 0.0, "1 hour": 3600.0, "1 day": 86400.0, "1 year": 31_557_600.0}


def network() -> tuple[nn.Sequential, Tensor, Tensor]:
    """A trained perceptron for the digits of scikit-learn, its test images and their classes."""
    torch.manual_seed(0)
    digits = load_digits()
    x, y = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    train(model, DataLoader(TensorDataset(x[:1400], y[:1400]), 64, shuffle=True), Recipe(epochs=40, lr=5e-3))
    return model.eval(), x, y


MODEL, X, Y = network()
EXACT = MODEL(X[1400:]).detach()


def figures(outputs: Iterable[Tensor]) -> str:
    """Error of the network's outputs over their rms, and accuracy, over draws: mean and standard error."""
    found = []
    for y in outputs:
        error = float((y - EXACT).norm() / EXACT.norm())
        found.append((100 * error, 100 * float((y.argmax(1) == Y[1400:]).float().mean())))
    mean, spread = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    return f"{mean[0]:.2f} ± {spread[0]:.2f} | {mean[1]:.2f} ± {spread[1]:.2f}"


def ours(hardware: Hardware, time: float | None = None) -> Iterable[Tensor]:
    """Outputs of chips; each layer is on a tile of its own size, as cores of CrossSim are."""
    sizes = {"0": (64, 32), "2": (32, 10)}
    own = {
        name: Choice(hardware=hardware.replace(crossbar__rows=rows, crossbar__cols=cols))
        for name, (rows, cols) in sizes.items()
    }
    mapped = map_network(MODEL, hardware, X[:1], layers=own)
    mapped, _ = calibrate(mapped, MODEL, [(X[:1400], Y[:1400])])
    for chip in range(DRAWS):
        yield analog_network(MODEL, program_network(mapped, chip=chip, time=time))(X[1400:]).detach()


def of_aihwkit(config: TorchInferenceRPUConfig, time: float) -> Iterable[Tensor]:
    torch.manual_seed(1)
    for _ in range(DRAWS):
        analog = convert_to_analog(copy.deepcopy(MODEL), copy.deepcopy(config)).eval()
        analog.drift_analog_weights(time)
        yield analog(X[1400:]).detach()


def aihwkit_rows() -> list[str]:
    config = TorchInferenceRPUConfig()
    config.drift_compensation = None
    config.mapping.weight_scaling_omega = 1.0
    rows = []
    for noisy in (False, True):
        config.forward.is_perfect = not noisy
        hardware = from_aihwkit(config).hardware
        for label, time in TIMES.items():
            what = f"PCM cells, {label}" + (", DAC, ADC and output noise" if noisy else "")
            theirs = figures(of_aihwkit(config, time))
            rows.append(f"| {what} | {theirs} | {figures(ours(hardware, time + 20.0))} |")
    return rows


def of_crosssim(parameters: CrossSimParameters) -> Iterable[Tensor]:
    np.random.seed(1)  # noqa: NPY002 -- CrossSim draws from this generator
    for _ in range(DRAWS):
        h = X[1400:].numpy().astype(float)
        for layer in (MODEL[0], MODEL[2]):
            core = AnalogCore(layer.weight.detach().numpy().astype(float), parameters)
            h = np.stack([core.matvec(row) for row in h]) + layer.bias.detach().numpy()
            h = np.maximum(h, 0) if layer is MODEL[0] else h
        yield torch.from_numpy(h).float()


def crosssim_case(change: Callable[[CrossSimParameters], None]) -> CrossSimParameters:
    parameters = CrossSimParameters()
    parameters.core.rows_max = parameters.core.cols_max = 64
    parameters.core.mapping.weights.percentile = 1.0
    parameters.xbar.device.Rmin, parameters.xbar.device.Rmax = 1e4, 1e6
    change(parameters)
    return parameters


def write_error(model: str, magnitude: float) -> Callable[[CrossSimParameters], None]:
    def change(parameters: CrossSimParameters) -> None:
        error = parameters.xbar.device.programming_error
        error.enable, error.model, error.magnitude = True, model, magnitude

    return change


def read_noise(parameters: CrossSimParameters) -> None:
    noise = parameters.xbar.device.read_noise
    noise.enable, noise.model, noise.magnitude = True, "NormalProportionalDevice", 0.1


def wires(parameters: CrossSimParameters) -> None:
    parasitics = parameters.xbar.array.parasitics
    parasitics.enable, parasitics.Rp_row, parasitics.Rp_col = True, 5.0, 5.0
    parameters.simulation.Verr_th_mvm = 1e-6


CASES = {
    "write error of 3 % of g_max": write_error("NormalIndependentDevice", 0.03),
    "write error of 10 % of the target": write_error("NormalProportionalDevice", 0.1),
    "read noise of 10 % of the conductance": read_noise,
    "wires of 5 ohm a cell": wires,
}


def crosssim_rows() -> list[str]:
    rows = []
    for label, change in CASES.items():
        parameters = crosssim_case(change)
        hardware = from_crosssim(parameters).hardware
        rows.append(f"| {label} | {figures(of_crosssim(parameters))} | {figures(ours(hardware))} |")
    return rows


def write(page: str, rows: list[str], tool: str) -> None:
    """Put the rows between the marks of a page."""
    path = HERE / page
    before, _, rest = path.read_text(encoding="utf-8").partition(
        "<!-- rows of `python docs/other_tools.py` -->\n"
    )
    _, _, after = rest.partition("<!-- end of rows -->")
    head = [
        f"| case | {tool}: error [%] | {tool}: accuracy [%] | xbar: error [%] | xbar: accuracy [%] |",
        "|---|---|---|---|---|",
    ]
    text = "\n".join([*head, *rows])
    mark = "<!-- rows of `python docs/other_tools.py` -->\n"
    path.write_text(f"{before}{mark}{text}\n<!-- end of rows -->{after}", encoding="utf-8")


if __name__ == "__main__":
    print(f"float accuracy {100 * float((EXACT.argmax(1) == Y[1400:]).float().mean()):.2f} %")
    for page, rows, tool in (
        ("coming-from-aihwkit.md", aihwkit_rows, "aihwkit"),
        ("coming-from-crosssim.md", crosssim_rows, "CrossSim"),
    ):
        found = rows()
        print("\n".join(found), flush=True)
        write(page, found, tool)
