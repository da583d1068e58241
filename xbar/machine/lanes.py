"""Sixteen numbers side by side, for kernels whose speed hangs on vector units.

Numba has no type for them, and LLVM finds them in loops only where these are long. A kernel that holds its
sums in `Lanes` keeps them in registers, whatever the machine's vectors are: LLVM splits sixteen lanes into as
many as it has. Reads and writes know no bounds: the caller's arrays must hold all sixteen numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model

LANES = 16


class Lanes(types.Type):
    """Type of sixteen numbers of one type in a kernel."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        number = manager.lookup(lanes.dtype).get_value_type()
        super().__init__(manager, lanes, ir.VectorType(number, LANES))  # type: ignore[no-untyped-call]


def _place(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> tuple[Any, int]:
    """Where an array's number is, as sixteen of them, and the alignment that is known [bytes]."""
    data = context.make_array(array_type)(context, builder, array).data
    lanes = ir.VectorType(data.type.pointee, LANES).as_pointer()
    return builder.bitcast(builder.gep(data, [index]), lanes), array_type.dtype.bitwidth // 8


def _spread(builder: Any, number: Any, lanes: Any) -> Any:
    """A number in all lanes."""
    undefined, first = ir.Constant(lanes, ir.Undefined), ir.Constant(ir.IntType(32), 0)
    one = builder.insert_element(undefined, number, first)
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), None))


def _in_kernels(generator: Callable[..., Any]) -> Any:
    """A function of kernels; mypy sees its first argument, the context, which callers do not give."""
    return intrinsic(generator)


@_in_kernels
def zeros(context: Any, array: Any) -> Any:
    """Sixteen zeros of an array's type."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(context.get_value_type(signature.return_type), None)

    return Lanes(array.dtype)(array), generate


@_in_kernels
def load(context: Any, array: Any, index: Any) -> Any:
    """Numbers index ... index + 15 of a contiguous array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place, alignment = _place(context, builder, signature.args[0], *arguments)
        return builder.load(place, align=alignment)

    return Lanes(array.dtype)(array, types.intp), generate


@_in_kernels
def store(context: Any, array: Any, index: Any, lanes: Any) -> Any:
    """Write numbers index ... index + 15 of a contiguous array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place, alignment = _place(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], place, align=alignment)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@_in_kernels
def at(context: Any, array: Any, index: Any) -> Any:
    """One number of a contiguous array, from its start, whatever the sign of the index."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.load(builder.gep(data, [arguments[1]]))

    return array.dtype(array, types.intp), generate


@_in_kernels
def add(context: Any, x: Any, y: Any) -> Any:
    """Sums, lane by lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fadd(*arguments)

    return x(x, y), generate


@_in_kernels
def multiply_add(context: Any, lanes: Any, number: Any, factors: Any) -> Any:
    """``lanes + number * factors``, rounded once where the machine can."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        product = builder.fmul(
            _spread(builder, arguments[1], arguments[2].type), arguments[2], flags=["contract"]
        )
        return builder.fadd(arguments[0], product, flags=["contract"])

    return lanes(lanes, lanes.dtype, factors), generate


@_in_kernels
def exclusive_or(context: Any, lanes: Any, number: Any) -> Any:
    """The bits in which integers differ from a number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.xor(arguments[0], _spread(builder, arguments[1], arguments[0].type))

    return lanes(lanes, lanes.dtype), generate


@_in_kernels
def scaled(context: Any, lanes: Any, number: Any) -> Any:
    """A number times each lane, rounded before anything is added to it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fmul(_spread(builder, arguments[1], arguments[0].type), arguments[0])

    return lanes(lanes, lanes.dtype), generate


@_in_kernels
def converted(context: Any, lanes: Any, rate: Any, offset: Any, low: Any, high: Any, step: Any) -> Any:
    """``step * rint(clip(rate * lanes + offset, low, high))``, rounded at each operation."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code, kind = arguments[0], arguments[0].type
        rate, offset, low, high, step = (_spread(builder, each, kind) for each in arguments[1:])
        code = builder.fadd(builder.fmul(code, rate), offset)
        code = builder.select(builder.fcmp_ordered(">", code, low), code, low)
        code = builder.select(builder.fcmp_ordered("<", code, high), code, high)
        name = f"llvm.rint.v{LANES}{kind.element.intrinsic_name}"
        whole = builder.module.declare_intrinsic(name, fnty=ir.FunctionType(kind, [kind]))
        return builder.fmul(builder.call(whole, [code]), step)

    number = lanes.dtype
    return lanes(lanes, number, number, number, number, number), generate


@_in_kernels
def shifted(context: Any, lanes: Any, number: Any) -> Any:
    """Unsigned integers, shifted to the right by a number below that of their bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.lshr(arguments[0], _spread(builder, arguments[1], arguments[0].type))

    return lanes(lanes, lanes.dtype), generate


@_in_kernels
def looked_up(context: Any, table: Any, index: Any) -> Any:
    """The number of the table that each lane of the index says, of its four lowest bits; only where
    `has_tables`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes, words = (argument.type for argument in arguments)
        kind = ir.FunctionType(lanes, [lanes, words])
        permute = builder.module.declare_intrinsic("llvm.x86.avx512.permvar.sf.512", fnty=kind)
        return builder.call(permute, arguments)

    return table(table, index), generate


@functools.cache
def has_tables() -> bool:
    """Whether kernels are compiled for a machine that looks sixteen numbers up at once (AVX-512)."""
    return "+avx512f" in str(cpu_target.target_context.codegen().magic_tuple())
