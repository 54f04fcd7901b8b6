"""Random choices keyed by what they are for, so that no state has to be kept or restored.

Only the raw stream of NumPy's Philox is used: it is the same in all versions of NumPy, while
that of `Generator` methods may change.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class KeyedDraws:
    """A short stream of choices that depends on the seed and the key, and on nothing else.

    The seed is 0 to 2**64 - 1; the key whole numbers, each 0 to 2**32 - 1, for example epoch,
    index, domain.
    """

    def __init__(self, seed: int, *key: int) -> None:
        # The seed always takes two words: else (seed, key) pairs could run together.
        words = (seed & 0xFFFFFFFF, seed >> 32, *key)
        self._bits = np.random.Philox(np.random.SeedSequence(words))

    def below(self, count: int) -> int:
        """Draw from 0 .. count - 1, each alike (to within 2**-32 for any real count)."""
        return int(self._bits.random_raw()) * count >> 64

    def share(self) -> float:
        """Draw a number of [0, 1), in steps of 2**-53."""
        return self.below(2**53) / 2**53

    def coin(self) -> bool:
        """Draw a fair coin."""
        return self.below(2) == 1

    def permutation(self, count: int) -> NDArray[np.int64]:
        """Draw an order of 0 .. count - 1, (count,) int64."""
        order: NDArray[np.int64] = np.argsort(self._bits.random_raw(count), kind="stable")
        return order
