"""Where the keyboard is. napari's themes do not show it."""

FRAME = "border: 1px solid #c2740c;"
"""An orange with a contrast of 3 to the dark and to the light theme's background."""

FOCUS_STYLE = f"QPushButton:focus, QCheckBox:focus, QSlider:focus {{ {FRAME} border-radius: 2px; }}"
"""A style sheet for a whole control."""
