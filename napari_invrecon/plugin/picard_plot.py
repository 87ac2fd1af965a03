"""The OTF's spectrum above the discrete Picard plot, with the noise floor and the place where λ's filter crosses ½."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import NullLocator
from matplotlib.transforms import blended_transform_factory

from napari_invrecon.plugin.plots import FONT_PT, few_ticks, style_axes
from napari_invrecon.plugin.themed_plot import Room, ThemedPlot

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from qtpy.QtWidgets import QWidget

    from napari_invrecon.plugin.picard import Picard
    from napari_invrecon.plugin.plots import Colours

_HEIGHT_PX = 380
_OTF, _DATA, _INVERSE, _NOW = "#009e73", "#2f8fd0", "#e69f00", "#d55e00"  # Okabe and Ito's
_TICKS = {1: (0, 25, 50, 75, 100), 2: (0, 1, 5, 20, 50, 100), 3: (0, 1, 10, 30, 60, 100)}  # per cent


class PicardPlot(ThemedPlot):
    """A picture of `Picard`. Both axes run over all frequencies, from the largest σᵢ to the smallest."""

    room = Room(left=30, right=8, bottom=22, top=15, down=28)

    def __init__(self, colours: Colours, parent: QWidget | None = None) -> None:
        super().__init__(colours, _HEIGHT_PX, "Singular values of the blur, and the discrete Picard plot", parent)
        self._found: Picard | None = None
        self._lam: float | None = None

    @property
    def mark(self) -> float | None:
        """Where λ's filter crosses ½, as a share of the frequencies; None where that is not known."""
        if self._found is None or self._found.factors is None or self._lam is None:
            return None
        return 1 - self._found.factors.filled(self._lam)

    def show_found(self, found: Picard) -> None:
        """Draw it."""
        self._found = found
        self.redraw()

    def show_lam(self, lam: float | None) -> None:
        """Mark the λ that is set now; None: none is."""
        self._lam = lam
        self.move_marks()

    def draw_on(self, figure: Figure) -> None:
        """The spectrum above, the coefficients below."""
        found = self._found
        if found is None:
            return
        spectrum, coefficients = self._axes = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.25))
        text, inverse = self._colours.text, found.inverse
        share = 100 * inverse.rank / inverse.size
        noise = {"color": text, "lw": 0.9, "ls": (0, (1, 1.5))}
        spectrum.plot(share, inverse.singular, color=_OTF, lw=1.6, label="σᵢ = |OTF|")
        if inverse.noise_floor:
            spectrum.axhline(inverse.noise_floor, **noise, label="the noise's level")
        coefficients.plot(share, inverse.ratio, color=_INVERSE, lw=1.4, ls=(0, (4, 1.5)), label="|uᵢᵀy|/σᵢ, of H⁻¹y")
        coefficients.plot(share, inverse.coefficient, color=_DATA, lw=1.4, label="|uᵢᵀy|, of the data")
        if inverse.noise_sigma:
            coefficients.axhline(inverse.noise_sigma, **noise, label="noise σ")
        for each in (spectrum, coefficients):
            style_axes(each, self._colours)
            each.set_yscale("log")
            few_ticks(each.yaxis, 4)
            each.legend(
                fontsize=FONT_PT - 0.5,
                labelcolor=text,
                frameon=False,
                ncols=2,
                loc="lower left",
                bbox_to_anchor=(0.02, 1.0),
                bbox_transform=blended_transform_factory(figure.transFigure, each.transAxes),
                borderaxespad=0.1,
                handlelength=2.0,
                columnspacing=0.9,
            )
        _spread_frequencies(coefficients, found.ndim)
        spectrum.tick_params(labelbottom=False)
        coefficients.set_xlabel("frequencies by falling σᵢ (%)", fontsize=FONT_PT, color=text, labelpad=1)

    def marks(self) -> list[Artist]:
        """A line where the filter crosses ½, and what it damps tinted."""
        marks: list[Artist] = []
        place = self.mark
        if place is None:
            return marks
        for axes in self._axes:
            marks.append(axes.axvspan(100 * place, 100, color=_NOW, alpha=0.15, lw=0, zorder=0))
            marks.append(axes.axvline(100 * place, color=_NOW, lw=1.8, zorder=2))
        rightwards = place < 0.2
        said = self._axes[0].annotate(
            "filter ½",
            (100 * place, 0.03),
            xycoords=self._axes[0].get_xaxis_transform(),
            xytext=(2 if rightwards else -2, 0),
            textcoords="offset points",
            ha="left" if rightwards else "right",
            fontsize=FONT_PT - 0.5,
            color=_NOW,
        )
        return [*marks, said]


def _spread_frequencies(axes: Axes, ndim: int) -> None:
    """Percent of the frequencies, spread like the spatial frequency itself: most of an image's are high ones."""
    ndim = min(max(ndim, 1), 3)
    axes.set_xscale("function", functions=(lambda p: np.maximum(p, 0) ** (1 / ndim), lambda f: f**ndim))
    axes.set_xlim(0, 100)
    axes.set_xticks(_TICKS[ndim], [str(each) for each in _TICKS[ndim]])
    axes.xaxis.set_minor_locator(NullLocator())
