"""Example inputs of a network: one or several, by position or name, of any type."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mapping.network.inputs import Inputs
from xbar.hardware.errors import XbarError, unknown_name

DTYPES = {
    name: getattr(torch, name)
    for name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool")
}
FORM = re.compile(
    r"(?:(?P<name>[A-Za-z_]\w*)=)?(?:(?P<dtype>[a-z]+\d*)(?::|$))?(?P<sizes>[1-9]\d*(?:x[1-9]\d*)*)?"
)


@dataclass(frozen=True)
class Input:
    """One input of a network.

    Parameters
    ----------
    sizes
        Without the batch.
    dtype
        Name of torch's.
    name
        That the network takes it by; ``""``: it is known by its position.
    """

    sizes: tuple[int, ...]
    dtype: str = "float32"
    name: str = ""

    def batch_of_one(self, device: torch.device | None) -> torch.Tensor:
        """A batch of one example: random floats, and ones for other types, such as token ids and masks."""
        dtype = DTYPES[self.dtype]
        make = torch.rand if dtype.is_floating_point else torch.ones
        return make(1, *self.sizes, dtype=dtype, device=device)


def parsed_inputs(text: str) -> tuple[Input, ...]:
    """Inputs as ``--input`` gives them, with commas between them; none for an empty text.

    ``3x224x224``; ``int64:128`` for 128 token ids; ``input_ids=int64:128,attention_mask=int64:128`` for a
    network that is called with a batch as a dict; a type alone for one number an image.

    Raises
    ------
    XbarError
        For another form, an unknown type, and inputs of which only some have a name.
    """
    found = []
    for part in text.split(",") if text else ():
        match = FORM.fullmatch(part.strip())
        if not match or not (match["dtype"] or match["sizes"]):
            raise XbarError(
                f"--input {text}: must be sizes joined by x, without the batch, as 3x224x224; a type before "
                "them, as int64:128; a name before both, as input_ids=int64:128; several with commas between"
            )
        dtype = match["dtype"] or "float32"
        if dtype not in DTYPES:
            raise unknown_name(f"--input {text}: type", dtype, DTYPES)
        sizes = tuple(map(int, match["sizes"].split("x"))) if match["sizes"] else ()
        found.append(Input(sizes, dtype, match["name"] or ""))
    if len({bool(one.name) for one in found}) > 1:
        raise XbarError(f"--input {text}: some inputs have a name; all must have one, or none")
    names = [one.name for one in found if one.name]
    if len(set(names)) < len(names):
        raise XbarError(f"--input {text}: two inputs have one name")
    return tuple(found)


def example_of(inputs: Sequence[Input], device: torch.device | None = None) -> Inputs:
    """A batch of one: a tensor, a tuple where there are several, a dict where they have names."""
    tensors = tuple(one.batch_of_one(device) for one in inputs)
    if inputs[0].name:
        return {one.name: x for one, x in zip(inputs, tensors, strict=True)}
    return tensors if len(tensors) > 1 else tensors[0]
