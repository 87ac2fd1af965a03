"""One definition of a parameter serves the keyword, the form, the command line and the check."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from napari_invrecon.recon.deconvolution_settings import DeconvolutionSettings
from napari_invrecon.recon.settings import check, parameters, takes_settings


@dataclass(frozen=True, kw_only=True)
class Example:
    kind: Annotated[Literal["a", "b"], {"label": "Kind"}] = "a"
    lam: Annotated[float | None, {"label": "λ", "min": 0.0, "unit": "nm"}] = None
    count: Annotated[int, {"min": 1, "max": 5, "advanced": True}] = 2
    flag: bool = False

    def __post_init__(self):
        check(self)


@takes_settings(Example)
def double(number, *, settings):
    return 2 * number, settings


def test_parameters_know_their_field():
    kind, lam, count, flag = parameters(Example)
    assert (kind.type, kind.choices, kind.default) == (str, ("a", "b"), "a")
    assert (lam.type, lam.optional, lam.minimum, lam.unit) == (float, True, 0.0, "nm")
    assert (count.type, count.maximum, count.advanced, count.optional) == (int, 5, True, False)
    assert (flag.type, flag.label) == (bool, "flag")


def test_keywords_become_settings():
    assert double(3, lam=2.0) == (6, Example(lam=2.0))
    with pytest.raises(TypeError, match="no parameter 'lma'; it takes kind, lam"):
        double(3, lma=2.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "c"}, "'a', 'b'"),
        ({"lam": -1.0}, "from 0 to inf nm"),
        ({"lam": float("nan")}, "expected a number"),
        ({"lam": "much"}, "expected a number"),
        ({"count": 9}, "from 1 to 5"),
        ({"count": 1.5}, "whole number"),
        ({"lam": "0.1"}, "expected a number, not str"),
        ({"lam": True}, "expected a number, not bool"),
        ({"count": 2.0}, "whole number, 2"),
        ({"flag": 1}, "True or False"),
    ],
)
def test_values_out_of_range_are_refused_by_name(values, message):
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        Example(**values)
    assert next(iter(values)) in str(caught.value)


def test_every_setting_of_a_deconvolution_has_label_and_help():
    for each in parameters(DeconvolutionSettings):
        assert each.label != each.name
        assert each.help.endswith(".")
