"""Rows of floats that numba keeps in SIMD registers: the compiler would otherwise guess, and often wrongly.

A value of `Lanes` holds w floats, and arithmetic acts on all at once. The width comes from an argument ``like``,
a tuple of w numbers, so that one kernel is compiled for each width that it is called with. LLVM maps a width to what
the processor has: 32 floats are two registers of AVX-512, four of AVX, eight of NEON.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, overload, register_model

_CONTRACT = ("contract",)  # a product and a sum may become one instruction


class Lanes(types.Type):
    """The numba type of a row of ``width`` floats."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(name=f"Lanes({width})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, _vector(lanes.width))


def _vector(width: int) -> ir.VectorType:
    return ir.VectorType(ir.FloatType(), width)


def _address(context: Any, builder: Any, array_type: Any, array: Any, offset: Any, element: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), element.as_pointer())


@intrinsic
def load(typing_context: Any, array: Any, offset: Any, like: Any) -> Any:
    """The floats array[offset], array[offset + 1], … of a contiguous 1-D array, as many as ``like`` has."""
    lanes = Lanes(len(like))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _vector(lanes.width)
        at = _address(context, builder, signature.args[0], arguments[0], arguments[1], vector)
        return builder.load(at, align=4)

    return lanes(array, types.intp, like), generate


@intrinsic
def store(typing_context: Any, array: Any, offset: Any, lanes: Any) -> Any:
    """array[offset], array[offset + 1], … = the lanes, cut to integers where the array is of int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = arguments[2]
        if array.dtype == types.int32:
            value = builder.fptosi(value, ir.VectorType(ir.IntType(32), lanes.width))
        at = _address(context, builder, signature.args[0], arguments[0], arguments[1], value.type)
        builder.store(value, at, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@intrinsic
def filled(typing_context: Any, value: Any, like: Any) -> Any:
    """The same number in each lane."""
    lanes = Lanes(len(like))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        nothing = ir.Constant(_vector(lanes.width), ir.Undefined)
        first = builder.insert_element(nothing, arguments[0], ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes.width), [0] * lanes.width)
        return builder.shuffle_vector(first, nothing, zeros)

    return lanes(types.float32, like), generate


@intrinsic
def floor(typing_context: Any, lanes: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = arguments[0].type
        name = f"llvm.floor.v{lanes.width}f32"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector]), name)
        return builder.call(function, arguments)

    return lanes(lanes), generate


def _greatest(sign: str) -> Any:
    @intrinsic
    def chosen(typing_context: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.select(builder.fcmp_ordered(sign, *arguments), *arguments)

        return a(a, b), generate

    return chosen


maximum, minimum = _greatest(">"), _greatest("<")


def _arithmetic(instruction: str) -> Any:
    @intrinsic
    def result(typing_context: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, instruction)(*arguments, flags=_CONTRACT)

        return a(a, b), generate

    return result


_sum, _difference, _product = _arithmetic("fadd"), _arithmetic("fsub"), _arithmetic("fmul")


@overload(operator.add, strict=False)
def _overload_sum(a: Any, b: Any) -> Any:
    return (lambda a, b: _sum(a, b)) if isinstance(a, Lanes) and isinstance(b, Lanes) else None


@overload(operator.sub, strict=False)
def _overload_difference(a: Any, b: Any) -> Any:
    return (lambda a, b: _difference(a, b)) if isinstance(a, Lanes) and isinstance(b, Lanes) else None


@overload(operator.mul, strict=False)
def _overload_product(a: Any, b: Any) -> Any:
    return (lambda a, b: _product(a, b)) if isinstance(a, Lanes) and isinstance(b, Lanes) else None
