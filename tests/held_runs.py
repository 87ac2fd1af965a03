"""Reconstructions that stay in the middle, so that a test may do there what a user does."""

from __future__ import annotations

import threading
import time
from dataclasses import replace


def with_an_image(iterate, *_):
    """The iterate itself, where it shows an image."""
    return None if iterate.x is None else iterate


class Held:
    """A reconstruction that stays where ``middle`` gives an iterate, yielding that until it may go on or is asked to.

    ``middle(iterate, *args)`` gives what to stay at, or None. ``opened`` lets every run go on, ``shown`` lists the
    iterates at which runs have stayed, ``ended`` the threads in which they were cleaned up.
    """

    def __init__(self, reconstruction, middle):
        self._reconstruction, self._middle = reconstruction, middle
        self.opened = threading.Event()
        self.shown = []
        self.ended = []

    def __call__(self, *args):
        steps, answer = self._reconstruction(*args), None
        try:
            while True:
                try:
                    iterate = steps.send(answer)
                except StopIteration as end:
                    return end.value
                here = None if answer or self.opened.is_set() else self._middle(iterate, *args)
                if here is None:
                    answer = yield iterate
                    continue
                self.shown.append(here)
                answer = yield here
                while not answer and not self.opened.is_set():
                    time.sleep(0.002)
                    answer = yield replace(here)  # another iterate, for one is told once
        finally:
            steps.close()
            self.ended.append(threading.get_ident())
