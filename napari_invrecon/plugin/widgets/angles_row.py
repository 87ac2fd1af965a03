"""The tilt angles: those of the layer, of a file, or a start and a step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QHBoxLayout, QLabel, QLineEdit, QPushButton, QWidget

from napari_invrecon.io.sidecars import read_sidecar
from napari_invrecon.plugin.tilt_series import describe_angles, known_angles, projections
from napari_invrecon.plugin.widgets.number_field import NumberField

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image
    from numpy.typing import NDArray

_LAYER, _FILE, _STEPS, _RECORD = "of the layer", "of a file", "start and step", "of the record"
_GUESS = "a guess, as the layer has none: type start and step, or choose their file"
_TIP = (
    "Tilt angles in degree, one for each image, in its order. Of the layer: read with its file. Of a file: a .rawtlt "
    "or .tlt with one angle a line, or SerialEM's .mdoc. Start and step: evenly spaced."
)


@dataclass(frozen=True)
class _Typed:
    """What the user has set for one layer."""

    source: str
    file: str
    start: float
    step: float
    recorded: tuple[float, ...] = ()


class AnglesRow(QWidget):
    """Where the angles come from, and what they are; `offer` gives it the layer that they belong to.

    What is set by hand belongs to its layer and is there again when that layer is; a layer without angles of its own
    starts from what was typed last.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layer: Image | None = None
        self._by_layer: WeakKeyDictionary[Image, _Typed] = WeakKeyDictionary()
        self.source = QComboBox(self)
        self.source.addItems([_LAYER, _FILE, _STEPS])
        self.source.setToolTip(_TIP)
        self.file = QLineEdit(self)
        self.file.setPlaceholderText("a .rawtlt, .tlt or .mdoc")
        self.file.setToolTip(_TIP)
        self.file.setAccessibleName("Angle file")
        self.browse = QPushButton("…", self)
        self.browse.setToolTip("Choose the file of the angles")
        self.browse.setAccessibleName("Choose the file of the angles")
        self.start = self._number(-70.0, -360.0, 360.0, "Start (°)", "Angle of the first image, in degree.")
        self.step = self._number(
            2.0,
            -180.0,
            180.0,
            "Step (°)",
            "From one image to the next, in degree; negative where the stage turns back.",
        )
        self.label = QLabel(self)
        self.label.setWordWrap(True)
        self.label.setToolTip(_TIP)
        file_row = QHBoxLayout()
        file_row.addWidget(self.file, 1)
        file_row.addWidget(self.browse)
        self._page = QFormLayout(self)
        self._page.setContentsMargins(0, 0, 0, 0)
        self._page.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._page.addRow(self.source)
        self._page.addRow(file_row)
        self._page.addRow("Start (°)", self.start)
        self._page.addRow("Step (°)", self.step)
        self._page.addRow(self.label)
        self.setFocusProxy(self.source)

        self.source.currentIndexChanged.connect(self._edit)
        self.file.editingFinished.connect(self._edit)
        self.browse.clicked.connect(self._browse)
        for field in (self.start, self.step):
            field.valueChanged.connect(self._edit)
        self._show()

    @property
    def value(self) -> NDArray[np.float64]:
        """One angle in degree for each image.

        Raises
        ------
        ValueError, OSError
            With the remedy: there are no angles, or not one for each image.
        """
        if self._layer is None:
            raise ValueError("choose a tilt series first")
        return self._read()[0]

    def offer(self, layer: Image | None) -> None:
        """The layer whose angles are wanted."""
        self._layer = layer
        if layer is not None:
            typed = self._by_layer.get(layer)
            if typed is None:
                own = known_angles(layer) is not None
                typed = _Typed(
                    _LAYER if own else self._usual(), self.file.text(), self.start.value(), self.step.value()
                )
            with QSignalBlocker(self.source), QSignalBlocker(self.start), QSignalBlocker(self.step):
                self._offer_record(bool(typed.recorded))
                self.source.setCurrentText(typed.source)
                self.file.setText(typed.file)
                self.start.setValue(typed.start)
                self.step.setValue(typed.step)
        self._show()
        self.changed.emit()

    def fill(self, angles_deg: Sequence[float]) -> None:
        """Take these angles for the layer, as a record has them."""
        layer = self._layer
        if layer is None:
            raise ValueError("choose a tilt series first")
        known = known_angles(layer)
        own = known is not None and np.array_equal(known, angles_deg)
        source, recorded = (_LAYER, ()) if own else (_RECORD, tuple(angles_deg))
        self._by_layer[layer] = _Typed(source, self.file.text(), self.start.value(), self.step.value(), recorded)
        self.offer(layer)

    def _usual(self) -> str:
        """What a layer without angles starts with."""
        return _STEPS if self.source.currentText() in (_LAYER, _RECORD) else self.source.currentText()

    def _offer_record(self, on: bool) -> None:
        index = self.source.findText(_RECORD)
        if on and index < 0:
            self.source.addItem(_RECORD)
        elif index >= 0 and not on:
            self.source.removeItem(index)

    def _read(self) -> tuple[NDArray[np.float64], str]:
        """(angles, where they come from)."""
        layer, kind = self._layer, self.source.currentText()
        assert layer is not None
        n_images = projections(layer).shape[-3]
        if kind == _STEPS:
            if self.step.value() == 0:
                raise ValueError("a step of 0° gives every image the same angle: type the step between two tilts")
            typed = self.start.value() + self.step.value() * np.arange(n_images)
            return typed, "from start and step" if layer in self._by_layer else _GUESS
        if kind == _FILE:
            if not self.file.text().strip():
                raise ValueError("choose the file of the angles: a .rawtlt, .tlt or .mdoc")
            path = Path(self.file.text().strip()).expanduser()
            if not path.is_file():
                raise ValueError(f"there is no file {path}: choose the .rawtlt, .tlt or .mdoc of this stack")
            angles, origin = np.asarray(read_sidecar(path).angles_deg, np.float64), path.name
            remedy = "choose the file of this stack"
        elif kind == _RECORD:
            angles, origin = np.asarray(self._by_layer[layer].recorded, np.float64), "the record"
            remedy = "choose the series that was reconstructed"
        else:
            known = known_angles(layer)
            if known is None:
                raise ValueError(f"'{layer.name}' has no tilt angles: choose their file, or type start and step")
            angles = known
            origin = layer.metadata["acquisition"].get("angles_from", "its header")
            remedy = "choose another file of angles, or type start and step"
        if len(angles) != n_images:
            raise ValueError(f"{origin} lists {len(angles)} angles, but '{layer.name}' has {n_images} images: {remedy}")
        return angles, f"from {origin}"

    def _edit(self, *_: Any) -> None:
        if self._layer is not None:
            before = self._by_layer.get(self._layer)
            self._by_layer[self._layer] = _Typed(
                self.source.currentText(),
                self.file.text(),
                self.start.value(),
                self.step.value(),
                () if before is None else before.recorded,
            )
        self._show()
        self.changed.emit()

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Tilt angles", self.file.text(), "Tilt angles (*.rawtlt *.tlt *.mdoc);;All files (*)"
        )
        if path:
            self.file.setText(path)
            self._edit()

    def _show(self) -> None:
        kind = self.source.currentText()
        self._page.setRowVisible(1, kind == _FILE)
        self._page.setRowVisible(self.start, kind == _STEPS)
        self._page.setRowVisible(self.step, kind == _STEPS)
        self.label.setVisible(self._layer is not None)
        if self._layer is None:
            return
        try:
            angles, origin = self._read()
            self.label.setText(f"{describe_angles(angles)}, {origin}")
        except (ValueError, OSError) as error:
            self.label.setText(str(error))

    def _number(self, value: float, low: float, high: float, name: str, tip: str) -> NumberField:
        field = NumberField(self, minimum=low, maximum=high)
        field.setValue(value)
        field.setAccessibleName(name)
        field.setToolTip(tip)
        return field
