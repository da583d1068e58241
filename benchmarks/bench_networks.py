"""Whole networks: ResNet-20 on programmed tiles against plain torch, and the conversion of ResNet-50."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

import torch
from timing import each_thread_count, record

from experiments.inputs.networks import build_network
from mapping import analog_network, calibrate, fold_batch_norm, map_network, program_network
from xbar import Hardware, ProgrammingNoise, WhiteNoise, load_hardware

IMAGES = 1000

PEAK = """
    import json, re, torch
    from pathlib import Path
    from bench_networks import tiles_of
    from experiments.inputs.networks import build_network
    from mapping import map_network
    from xbar import load_hardware
    model, x = build_network("resnet50").eval(), torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        model(x)
    def kilobytes(name):
        return int(re.search(rf"{name}:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew
    before = kilobytes("VmRSS")
    map_network(model, tiles_of(64), x)
    taken = (kilobytes("VmHWM") - before) * 1024
    print(json.dumps(taken / sum(p.numel() * 4 for p in model.parameters())))
"""


def tiles_of(columns: int) -> Hardware:
    """128 word lines, the papers' cells with programming and read noise, 8-bit converters."""
    return load_hardware("admm-32x32").replace(
        device__programming=ProgrammingNoise("lognormal", 0.05),
        device__read_noise=WhiteNoise(0.02),
        crossbar__rows=128,
        crossbar__cols=columns,
        adc__columns=columns,
        adc__bits=8,
        dac__phase_bits=8,
    )


@torch.no_grad()
def rows(repeats: int = 3) -> list[dict[str, Any]]:
    """ResNet-20 by threads, then the conversion; programming is not in the time of the first."""
    torch.manual_seed(0)
    x = torch.rand(IMAGES, 3, 32, 32)
    model = fold_batch_norm(build_network("resnet20").eval(), x[:2])
    mapped, _ = calibrate(map_network(model, tiles_of(128), x[:1]), model, [(x[:50], None)])
    network = analog_network(model, program_network(mapped))
    records = []
    for threads in each_thread_count(network, (1, 2)):
        records.append(
            record(
                f"ResNet-20, {IMAGES:,} images of 3 x 32 x 32, 128 x 128 tiles, programming and read noise, "
                "8-bit DAC in one phase, 8-bit ADC",
                lambda: network(x),
                "the network in plain torch, batch norms folded",
                lambda: model(x),
                threads=threads,
                repeats=repeats,
                baseline_threads=threads,
            )
        )
    resnet50, image = build_network("resnet50").eval(), torch.rand(1, 3, 224, 224)
    memory = json.loads(
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(PEAK)],
            cwd=sys.path[0],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    records.append(
        record(
            f"map_network of ResNet-50 at ImageNet's shape; its memory at most {memory:.2f} of the weights'",
            lambda: map_network(resnet50, tiles_of(64), image),
            "10 images through the network in plain torch",
            lambda: [resnet50(image) for _ in range(10)],
            threads=1,
            repeats=repeats,
        )
    )
    return records
