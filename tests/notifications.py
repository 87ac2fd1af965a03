"""What napari has told the user."""

from __future__ import annotations

from napari.utils.notifications import ErrorNotification, notification_manager


def errors():
    """The messages of the errors since the last call."""
    found = [each.message for each in notification_manager.records if isinstance(each, ErrorNotification)]
    notification_manager.records.clear()
    return found
