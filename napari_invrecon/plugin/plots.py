"""λ in two plots: the L-curve, and what the rules minimise or meet, with the λ of each rule marked on both."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator
from matplotlib.transforms import blended_transform_factory
from napari.utils.theme import get_theme
from qtpy.QtCore import Signal

from napari_invrecon.plugin.themed_plot import Room, ThemedPlot

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.backend_bases import MouseEvent
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from qtpy.QtWidgets import QWidget

_HEIGHT_PX = 400
FONT_PT = 7.5
_MOST = (1.1, 2.5)  # between these the scores' axis ends: all rules' λ are on it, no curve's far end stretches it
_AXES_PT = (160, 100)  # about, of either plot in a dock of 320 pixels
_LABEL_PT = (55, 8)  # room for a label on the L-curve
_LABEL_GAP_PT, _LETTER_PT = 6, 3.4
_LINE_LETTERS = 22  # in an upright label: as much as the scores are high
_EDGE = 0.12  # of the scores' width: no room for a label between a line and the edge
_TOGETHER = 0.045  # rules closer than this share of the λ axis have one label
# Okabe and Ito's palette, each legible on napari's dark and light background; each line has its own dashes besides.
_LINES: dict[str, tuple[str, Any]] = {
    "GCV": ("#e69f00", "-"),
    "SURE": ("#009e73", (0, (4, 1.5))),
    "held out": ("#cc79a7", (0, (4, 1.5, 1, 1.5))),
    "residual/noise": ("#2f8fd0", (0, (1, 1))),
}
NOW = "#d55e00"


@dataclass(frozen=True)
class Colours:
    """Of a napari theme, as "#rrggbb"."""

    background: str
    text: str
    line: str
    dark: bool


def theme_colours(name: str) -> Colours:
    """The colours of the napari theme of this name ("dark", "light", "system", …)."""
    theme = get_theme(name)
    background, text, line = (each.as_hex(format="long") for each in (theme.background, theme.text, theme.secondary))
    return Colours(background[:7], text[:7], line[:7], theme.type == "dark")


class LambdaPlot(ThemedPlot):
    """A picture of `LambdaCurve.summary()`. A click on it is a λ.

    ``picked(λ)``: on the L-curve the λ of the nearest point, on the scores the λ of the place.
    """

    picked = Signal(float)
    room = Room(left=38, right=8, bottom=22, top=4, down=46)

    def __init__(self, colours: Colours, parent: QWidget | None = None) -> None:
        # the slider does by keyboard what a click does here
        super().__init__(colours, _HEIGHT_PX, "L-curve and scores against λ", parent)
        self._curve: dict[str, Any] | None = None
        self._lam: float | None = None
        self.mpl_connect("button_press_event", self._click)

    def show_curve(self, summary: dict[str, Any]) -> None:
        """Draw a curve; it needs at least two λ."""
        self._curve = summary
        self.redraw()

    def show_lam(self, lam: float | None) -> None:
        """Mark the λ that is set now; None: none is."""
        self._lam = lam
        self.move_marks()

    def draw_on(self, figure: Figure) -> None:
        """The L-curve above, the scores below."""
        if self._curve is None:
            return
        self._l_curve, self._scores = figure.subplots(2, 1, height_ratios=(1, 1.1))
        for axes in (self._l_curve, self._scores):
            style_axes(axes, self._colours)
        self._draw_curves(self._curve)

    def _draw_curves(self, curve: dict[str, Any]) -> None:
        lam = np.asarray(curve["lam"])
        shades = _shades(self._colours)
        residual, solution = (np.asarray(curve[name]) for name in ("residual_norm", "solution_norm"))
        axes = self._l_curve
        axes.plot(residual, solution, color=self._colours.line, lw=0.8, zorder=1)
        axes.scatter(residual, solution, c=np.log(lam), cmap=shades, s=14, zorder=2)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.margins(0.05, 0.1)
        for axis in (axes.xaxis, axes.yaxis):
            few_ticks(axis, 3)
        axes.set_xlabel("residual ‖Hx − y‖", fontsize=FONT_PT, color=self._colours.text, labelpad=1)
        axes.set_ylabel("solution R(x)", fontsize=FONT_PT, color=self._colours.text, labelpad=1)

        axes = self._scores
        marked = labels(curve)
        top = low = 1.0
        found = scores(curve)
        for values in found.values():
            at_rules = np.interp([np.log(chosen) for chosen, _ in marked], np.log(lam), values)
            top, low = max(top, 1.05 * at_rules.max(initial=0.0)), min(low, float(np.nanmin(values)))
        top = min(max(top, _MOST[0]), _MOST[1])
        room = top - low
        for name, values in found.items():
            colour, dashes = _LINES[name]
            least = float(np.nanmin(values))
            label = name if least <= top else f"{name} ≥ {least:.2g}, above"
            axes.plot(lam, values, color=colour, ls=dashes, lw=1.6, label=label)
        axes.axhline(1, color=self._colours.line, lw=0.6, zorder=0)
        axes.set_xscale("log")
        edges = np.geomspace(lam[0], lam[-1], 129)  # the points' colours, on the axis
        shade = np.log(edges[None, :-1])
        axes.pcolormesh(edges, [0, 0.05], shade, cmap=shades, transform=axes.get_xaxis_transform(), zorder=3)
        axes.set_xlim(lam[0], lam[-1])
        few_ticks(axes.xaxis, 6)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set_ylim(low - 0.12 * room, top + 0.05 * room)
        axes.set_xlabel("λ", fontsize=FONT_PT, color=self._colours.text, labelpad=1)
        axes.set_ylabel("over its least · residual/noise", fontsize=FONT_PT - 1, color=self._colours.text, labelpad=1)
        axes.legend(
            fontsize=FONT_PT - 0.5,
            labelcolor=self._colours.text,
            frameon=False,
            ncols=2,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            bbox_transform=blended_transform_factory(self.figure.transFigure, axes.transAxes),
            borderaxespad=0.1,
            handlelength=2.2,
            columnspacing=1.0,
        )
        above: tuple[float, float] | None = None  # the last label, in points
        width, height = _AXES_PT
        for number, (chosen, label) in reversed([*enumerate(marked)]):
            self._mark_score(chosen, label, inner=0 < number < len(marked) - 1, last=0 < number == len(marked) - 1)
            point = _on_curve(curve, chosen)
            if not np.isfinite(point).all():
                continue
            x, y = self._l_curve.transLimits.transform(np.log10(point)) * (width, height)
            lift = 4.0
            if above is not None and abs(x - above[0]) < _LABEL_PT[0]:
                lift = max(lift, above[1] + _LABEL_PT[1] - y)
            above = (x, y + lift)
            leftwards = x + _LABEL_GAP_PT + _LETTER_PT * len(label) > width and x > width / 2
            self._mark_point(label, point, lift, leftwards=leftwards)

    def _mark_point(self, label: str, point: tuple[float, float], lift: float, *, leftwards: bool) -> None:
        """A rule's λ on the L-curve."""
        self._l_curve.plot(*point, "D", ms=5, mfc="none", mec=self._colours.text, mew=1.1, zorder=4)
        self._l_curve.annotate(
            label,
            point,
            xytext=(-_LABEL_GAP_PT if leftwards else _LABEL_GAP_PT, lift),
            textcoords="offset points",
            ha="right" if leftwards else "left",
            fontsize=FONT_PT - 0.5,
            color=self._colours.text,
        )

    def _mark_score(self, chosen: float, label: str, *, inner: bool, last: bool) -> None:
        """A rule's λ on the scores, its label upright: to the left of the first line, to the right of the last one."""
        axes = self._scores
        axes.axvline(chosen, color=self._colours.text, lw=0.8, ls=(0, (2, 2)), zorder=1)
        across = axes.transLimits.transform((np.log10(chosen), 1.0))[0]
        rightwards = across < _EDGE or (last and across < 1 - _EDGE)
        axes.annotate(
            textwrap.fill(label, _LINE_LETTERS),
            (chosen, 0.12 if inner else 0.97),
            xycoords=axes.get_xaxis_transform(),
            xytext=(2 if rightwards else -2, 0),
            textcoords="offset points",
            rotation=90,
            ha="left" if rightwards else "right",
            va="bottom" if inner else "top",
            fontsize=FONT_PT - 0.5,
            linespacing=1.0,
            color=self._colours.text,
        )

    def marks(self) -> list[Artist]:
        """The λ that is set now: a ring on the L-curve, a line on the scores."""
        curve, lam = self._curve, self._lam
        if curve is None or lam is None or not curve["lam"][0] <= lam <= curve["lam"][-1]:
            return []
        x, y = _on_curve(curve, lam)
        ring = Line2D([x], [y], marker="o", ms=9, mfc="none", mec=NOW, mew=2, zorder=5)
        self._l_curve.add_artist(ring)  # unlike axes.plot, which looks for new limits
        return [ring, self._scores.axvline(lam, color=NOW, lw=1.8, zorder=2)]

    def _click(self, event: MouseEvent) -> None:
        if self._curve is None or event.inaxes is None or event.xdata is None:
            return
        if event.inaxes is self._scores:
            self.picked.emit(float(f"{event.xdata:.3g}"))
            return
        at = np.column_stack([self._curve["residual_norm"], self._curve["solution_norm"]])
        away = np.hypot(*(self._l_curve.transData.transform(at) - (event.x, event.y)).T)
        if np.isfinite(away).any():
            self.picked.emit(float(f"{self._curve['lam'][int(np.nanargmin(away))]:.3g}"))


def scores(curve: dict[str, Any]) -> dict[str, NDArray[np.float64]]:
    """What the rules look at, against λ: GCV, ‖Hx̂ − y‖² + 2σ²d (SURE) and held-out error, each over its minimum,
    and the residual over the noise. Those that are unknown are left out.
    """
    found: dict[str, NDArray[np.float64]] = {}
    n, sigma = curve["n_data"], curve["sigma"]
    wanted = {"GCV": curve.get("gcv"), "held out": curve.get("holdout")}
    if sigma and "sure" in curve:
        wanted["SURE"] = np.asarray(curve["sure"]) + n * sigma**2
    for name, values in wanted.items():
        if values is not None and np.nanmin(values) > 0:
            found[name] = np.asarray(values) / np.nanmin(values)
    if sigma:
        found["residual/noise"] = np.asarray(curve["residual_norm"]) / (sigma * math.sqrt(n))
    return found


def labels(curve: dict[str, Any]) -> list[tuple[float, str]]:
    """(λ, the rules that choose it) in ascending order; rules that nearly agree have one entry."""
    low, high = math.log(curve["lam"][0]), math.log(curve["lam"][-1])
    groups: list[tuple[float, list[str]]] = []
    for rule, chosen in sorted(((r, c) for r, c in curve["choices"].items() if c), key=lambda each: each[1]):
        if groups and math.log(chosen) - math.log(groups[-1][0]) < _TOGETHER * (high - low):
            groups[-1][1].append(rule)
        else:
            groups.append((chosen, [rule]))
    return [(chosen, ", ".join(rules)) for chosen, rules in groups]


def _on_curve(curve: dict[str, Any], lam: float) -> tuple[float, float]:
    """(residual, solution) at λ, between the points log–log."""
    t = np.log(curve["lam"])
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = (np.exp(np.interp(math.log(lam), t, np.log(curve[k]))) for k in ("residual_norm", "solution_norm"))
    return float(x), float(y)


def _shades(colours: Colours) -> ListedColormap:
    """Viridis without the end that the background swallows."""
    low, high = (0.25, 1.0) if colours.dark else (0.0, 0.85)
    return ListedColormap(colormaps["viridis"](np.linspace(low, high, 128)))


def few_ticks(axis: XAxis | YAxis, most: int) -> None:
    """At most so many numbers on a logarithmic axis, such as 2e3, also where it spans less than a decade."""
    low, high = axis.get_view_interval()
    if not 0 < low < high < np.inf:
        return
    decades = np.arange(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    ticks = 10.0 ** decades[:: max(1, math.ceil(len(decades) / most))]
    if len(decades) < 2:
        ticks = np.unique([float(f"{v:.2g}") for v in np.geomspace(low, high, 5)[1:-1]])
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([short(t) for t in ticks]))
    axis.set_minor_locator(NullLocator())


def short(value: float) -> str:
    """A number without padding, such as 120 or 2.9e3."""
    return f"{value:.3g}".replace("e+0", "e").replace("e-0", "e-")


def style_axes(axes: Axes, colours: Colours) -> None:
    """Axes in the colours of a theme."""
    axes.set_facecolor(colours.background)
    for spine in axes.spines.values():
        spine.set_color(colours.line)
    axes.tick_params(which="both", colors=colours.text, labelsize=FONT_PT - 0.5, length=2, pad=2)
