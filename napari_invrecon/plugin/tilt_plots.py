"""Pictures of a tilt series: its sinogram before and after the alignment; what was measured, and how it is fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import ListedColormap

from napari_invrecon.plugin.plots import FONT_PT, Colours, style_axes
from napari_invrecon.plugin.themed_plot import Room, ThemedPlot
from napari_invrecon.recon.diagnostics import BETWEEN, SAMPLED, WEDGE, fourier_coverage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from qtpy.QtWidgets import QWidget

_BAD, _GOOD, _WEDGE = "#d55e00", "#2f8fd0", "#cc79a7"
_PERCENTILES = (1.0, 99.5)


class TiltPlot(ThemedPlot):
    """With labelled axes."""

    def _label(self, axes: Axes, x: str, y: str, title: str = "") -> None:
        style_axes(axes, self._colours)
        axes.set_xlabel(x, fontsize=FONT_PT, color=self._colours.text, labelpad=1)
        axes.set_ylabel(y, fontsize=FONT_PT, color=self._colours.text, labelpad=1)
        if title:
            axes.set_title(title, fontsize=FONT_PT, color=self._colours.text, pad=3, y=1.0)


class SinogramPlot(TiltPlot):
    """One row along the tilt axis in every image, before and after: aligned, a point runs along a smooth curve."""

    room = Room(left=32, right=8, bottom=22, top=13, across=8)

    def __init__(self, colours: Colours, parent: QWidget | None = None) -> None:
        super().__init__(colours, 240, "Sinogram before and after the alignment", parent)
        self.sinograms: NDArray[np.float32] | None = None

    def show_sinograms(self, sinograms: NDArray[np.float32]) -> None:
        """(2, tilt, across): before and after."""
        self.sinograms = sinograms
        self.redraw()

    def draw_on(self, figure: Figure) -> None:
        """Two pictures side by side, on one grey scale."""
        if self.sinograms is None:
            return
        low, high = np.nanpercentile(self.sinograms, _PERCENTILES)
        pair = figure.subplots(1, 2, sharey=True)
        for axes, sinogram, title in zip(pair, self.sinograms, ("before", "after"), strict=True):
            axes.imshow(sinogram, cmap="gray", aspect="auto", interpolation="nearest", vmin=low, vmax=max(high, low))
            self._label(axes, "across the axis (px)", "image" if title == "before" else "", title)


class QualityPlot(TiltPlot):
    """What was measured in Fourier space with the missing wedge shaded, and the residual of each tilt."""

    room = Room(left=38, right=8, bottom=22, top=13, down=36)

    def __init__(self, colours: Colours, parent: QWidget | None = None) -> None:
        super().__init__(colours, 330, "Fourier coverage and residual of each tilt", parent)
        self._angles: NDArray[np.float64] | None = None
        self._found: dict[str, Any] = {}

    def show_quality(self, angles_deg: Any, found: dict[str, Any]) -> None:
        """Draw `TiltDiagnostics.summary` of a volume, and the angles of the tilts that it is of."""
        self._angles, self._found = np.asarray(angles_deg, np.float64), found
        self.redraw()

    def draw_on(self, figure: Figure) -> None:
        """The coverage above, the residuals below."""
        if self._angles is None:
            return
        coverage, residual = figure.subplots(2, 1, height_ratios=(1.25, 1))
        self._draw_coverage(coverage, self._angles, self._found["missing_wedge_fraction"])
        if self._found["residual_per_tilt"] is None:
            residual.set_axis_off()
        else:
            self._draw_residual(residual, self._angles, self._found)

    def _draw_coverage(self, axes: Axes, angles: NDArray[np.float64], missing: float) -> None:
        picture = fourier_coverage(angles)
        shades = {WEDGE: _WEDGE, BETWEEN: self._colours.background, SAMPLED: _GOOD}
        colours = ListedColormap([shades[value] for value in sorted(shades)])
        axes.imshow(picture, cmap=colours, vmin=0, vmax=2, extent=(-0.5, 0.5, -0.5, 0.5), origin="lower")
        wedge = np.where(picture == WEDGE, 1.0, 0.0)
        if wedge.any():  # hatched besides, for those who see no colours
            hatched = axes.contourf(
                wedge, levels=[0.5, 1.5], hatches=["///"], colors="none", extent=(-0.5, 0.5, -0.5, 0.5), origin="lower"
            )
            hatched.set_edgecolor(self._colours.text)
            hatched.set_linewidth(0)
        self._label(axes, "kx (1/px)", "kz (1/px)", f"hatched: {100 * missing:.0f} % never measured")

    def _draw_residual(self, axes: Axes, angles: NDArray[np.float64], found: dict[str, Any]) -> None:
        residual = np.asarray(found["residual_per_tilt"])
        bad = np.zeros(len(angles), bool)
        bad[found["bad_tilts"]] = True
        unit = "residual"
        if found["residual_over_noise"] is not None:  # of all tilts; so this is the one of each
            residual = residual * found["residual_over_noise"] / np.sqrt(np.mean(residual**2))
            unit = "residual/noise"
        axes.plot(angles[~bad], residual[~bad], "o", ms=3, color=_GOOD)
        axes.plot(angles[bad], residual[bad], "X", ms=7, color=_BAD)
        for angle, value in zip(angles[bad], residual[bad], strict=True):
            axes.annotate(
                f"{angle:.4g}°",
                (angle, value),
                xytext=(0, -10),
                textcoords="offset points",
                ha="center",
                fontsize=FONT_PT - 0.5,
                color=self._colours.text,
            )
        axes.set_ylim(0, 1.15 * np.nanmax(residual))
        self._label(axes, "tilt (°)", unit, "× stands out" if bad.any() else "residual of each tilt")
