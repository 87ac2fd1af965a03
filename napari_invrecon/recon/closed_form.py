"""λ ↦ argmin ‖Hx − y‖² + λ‖Lx‖², for one λ after another on the same data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from napari_invrecon.recon.operators import Array, fft_workers, forward_fft, in_slabs, inverse_fft

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def closed_form(y: Array, otf: NDArray[np.complex64], penalty: Array) -> Callable[[float], Array]:
    """λ ↦ F⁻¹[ H̄Y / (|H|² + λ|L|²) ], as `solvers.spectral`, with what does not depend on λ computed once.

    ``y`` fills the periodic field; ``otf`` is H and ``penalty`` |L|² on its ``rfftn`` grid. The function keeps three
    and a half fields of memory, for one caller at a time; what it returns is new at every call.
    """
    shape = y.shape
    data = forward_fft(y, y.ndim)
    data *= otf.conj()
    power = np.square(otf.real) + np.square(otf.imag)
    divided = np.empty_like(data)
    rows = [each.reshape(-1, each.shape[-1]) for each in (data, power, penalty, divided)]

    def solve(lam: float) -> Array:
        in_slabs(lambda start, stop: _divide_rows(*rows, np.float32(lam), start, stop), len(rows[0]), fft_workers())
        return inverse_fft(divided, shape, overwrite=True)

    return solve


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _divide_rows(data: Any, power: Any, penalty: Any, divided: Any, lam: Any, start: int, stop: int) -> float:
    """H̄Y / (|H|² + λ|L|²), and 0 where neither H nor L sees anything."""
    for row in range(start, stop):
        d, h, p, out = data[row], power[row], penalty[row], divided[row]
        for k in range(h.size):
            c = np.uintp(k)
            weight = h[c] + lam * p[c]
            gain = np.float32(1) / weight if weight > 0 else np.float32(0)
            out[c] = complex(gain * d[c].real, gain * d[c].imag)
    return 0.0
