"""A parameter is written once, on a frozen dataclass; keyword, form row, CLI flag and record all come from it.

@dataclass(frozen=True, kw_only=True)
class DeconvolutionSettings:
    lam: Annotated[float | None, {"label": "λ", "min": 0.0, "help": "…"}] = None
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import types
from collections import ChainMap
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

R = TypeVar("R")

# What the fields of several settings classes have in common; each adds its own help.
ITERATIONS: dict[str, Any] = {"label": "Iterations at most", "min": 1, "max": 100000, "advanced": True}
TOLERANCE: dict[str, Any] = {"label": "Tolerance", "min": 0.0, "max": 0.1, "advanced": True}
WORKING_MEMORY: dict[str, Any] = {"label": "Working memory", "unit": "GB", "min": 0.1, "max": 4096.0, "advanced": True}


@dataclass(frozen=True)
class Parameter:
    """One field of a settings class, as a form, a command line or a check needs it.

    ``type`` is ``bool``, ``int``, ``float`` or ``str``; ``optional`` says that None (chosen from the data) is allowed;
    ``choices`` are the literals of an enumerated field.
    """

    name: str
    type: type
    default: Any
    label: str
    unit: str = ""
    help: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    advanced: bool = False
    optional: bool = False


@functools.cache  # to read the hints takes milliseconds, and every step of a slider checks its settings
def parameters(settings_class: type) -> tuple[Parameter, ...]:
    """The fields of a settings dataclass as `Parameter`, in the order in which they are written."""
    hints = get_type_hints(settings_class, include_extras=True)
    found = []
    for each in fields(settings_class):
        hint, notes = hints[each.name], {}
        if get_origin(hint) is Annotated:
            hint, *given = get_args(hint)
            notes = dict(ChainMap(*given))
        optional = get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)
        if optional:
            hint = next(kind for kind in get_args(hint) if kind is not type(None))
        choices = tuple(get_args(hint)) if get_origin(hint) is Literal else ()
        found.append(
            Parameter(
                name=each.name,
                type=str if choices else hint,
                default=each.default,
                label=notes.get("label", each.name),
                unit=notes.get("unit", ""),
                help=notes.get("help", ""),
                minimum=notes.get("min"),
                maximum=notes.get("max"),
                choices=choices,
                advanced=notes.get("advanced", False),
                optional=optional,
            )
        )
    return tuple(found)


def check(settings: Any) -> None:
    """Refuse a value of the wrong type, outside its range or not among its choices, naming what is allowed.

    Raises
    ------
    ValueError, TypeError
        With the parameter's name, the value that came and the values that are allowed.
    """
    for each in parameters(type(settings)):  # type: ignore[arg-type]  # mypy takes a class for unhashable
        value = getattr(settings, each.name)
        if value is None and each.optional:
            continue
        if each.choices:
            if value not in each.choices:
                raise ValueError(f"{each.name}={value!r}: expected one of {', '.join(map(repr, each.choices))}")
            continue
        if each.type is bool:
            if not isinstance(value, bool):
                raise TypeError(f"{each.name}={value!r}: expected True or False")
            continue
        if each.type in (int, float):
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise TypeError(f"{each.name}={value!r}: expected a number, not {type(value).__name__}")
            number = float(value)
            low = -math.inf if each.minimum is None else each.minimum
            high = math.inf if each.maximum is None else each.maximum
            if not (low <= number <= high) or not math.isfinite(number):
                unit = f" {each.unit}" if each.unit else ""
                raise ValueError(f"{each.name}={value!r}: expected a number from {low:g} to {high:g}{unit}")
            if each.type is int and number != int(number):
                raise ValueError(f"{each.name}={value!r}: expected a whole number")
            if each.type is int and not isinstance(value, numbers.Integral):
                raise TypeError(f"{each.name}={value!r}: expected a whole number, {int(number)}")


def check_real(array: Any, what: str, shape: str) -> None:
    """Refuse what is no array of real numbers; ``what`` names it and ``shape`` says what was expected."""
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        raise TypeError(f"the {what} is a {type(array).__name__}: expected an array {shape}")
    kind = np.dtype(array.dtype).kind
    if kind not in "iuf":
        remedy = "take its magnitude or its phase" if kind == "c" else "convert it to numbers"
        raise TypeError(f"the {what} holds values of type {array.dtype}: expected real numbers; {remedy} first")


def takes_settings(settings_class: type) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Give a function ``f(arrays…, *, settings)`` the fields of a settings class as its own keyword arguments.

    The signature that ``help()`` and notebooks show lists every field with its default; an unknown keyword is refused
    with the names that exist. To a type checker it takes anything, and returns what it returns.
    """

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        own = [p for p in inspect.signature(function).parameters.values() if p.name != "settings"]
        known = parameters(settings_class)

        @functools.wraps(function)
        def call(*args: Any, **keywords: Any) -> R:
            mine = {p.name: keywords.pop(p.name) for p in own if p.name in keywords}
            names = [p.name for p in known]
            for name in keywords:
                if name not in names:
                    raise TypeError(f"{function.__name__}() has no parameter {name!r}; it takes {', '.join(names)}")
            return function(*args, **mine, settings=settings_class(**keywords))

        extra = [inspect.Parameter(p.name, inspect.Parameter.KEYWORD_ONLY, default=p.default) for p in known]
        call.__signature__ = inspect.Signature(own + extra)  # type: ignore[attr-defined]
        return call

    return decorate
