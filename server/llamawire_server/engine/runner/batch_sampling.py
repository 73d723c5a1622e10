"""Sampling for all sequences of a step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from llamawire_server.engine.constraint import ConstraintError
from llamawire_server.engine.runner.logits import Logits
from llamawire_server.engine.runner.sampler import Pick, Sampler

Pair = tuple[Sampler, Logits]

Result = Pick | ConstraintError
"""What came, or why nothing can."""

# Below so many logits a row, threads cost more than they give: they take turns at everything but numpy's loops.
_LONG_ROW = 16_384


class BatchSampling:
    """Samples a batch's rows, on several threads where that pays.

    It pays for samplers that weigh the whole vocabulary (1.5 to 1.9 times as fast on two cores). The others are done
    within tens of microseconds, in which a second thread would not have begun.
    """

    def __init__(self, num_threads: int) -> None:
        """num_threads: how many may sample at once, the caller's own among them. At least 1."""
        self._num_threads = num_threads
        self._pool: ThreadPoolExecutor | None = None

    def sample(self, pairs: Sequence[Pair]) -> list[Result]:
        """Each pair's next token, in the order of the pairs. Rows may be there several times; a sampler only once.

        A constraint that fails is no matter of the others. Raises DecodeError where one of the rows has no token that
        can come; samplers of others have moved on then.
        """
        shares = self._shares(pairs)
        if len(shares) == 1:
            return [_pick(sampler, logits) for sampler, logits in pairs]
        results: list[Result | None] = [None] * len(pairs)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._num_threads - 1, thread_name_prefix="sampling")
        futures = [self._pool.submit(_sample, pairs, share, results) for share in shares[1:]]
        try:
            _sample(pairs, shares[0], results)
        finally:
            # Whatever happens, nobody touches the rows any more when this call ends.
            wait(futures)
        for future in futures:
            future.result()
        return [result for result in results if result is not None]

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _shares(self, pairs: Sequence[Pair]) -> list[list[int]]:
        """Which pairs each thread does, the calling one first.

        Those of one row stay together: while a sampler is at it, the row is not what it was.
        """
        costly: dict[int, list[int]] = {}
        if self._num_threads > 1:
            for number, (sampler, logits) in enumerate(pairs):
                if len(logits) >= _LONG_ROW and sampler.weighs_all:
                    costly.setdefault(logits.ctypes.data, []).append(number)
        if len(costly) < 2:
            return [list(range(len(pairs)))]
        shares: list[list[int]] = [[] for _ in range(min(self._num_threads, len(costly)))]
        threads = {row: number % len(shares) for number, row in enumerate(costly)}
        for number, (_, logits) in enumerate(pairs):
            shares[threads.get(logits.ctypes.data, 0)].append(number)
        return shares


def _sample(pairs: Sequence[Pair], numbers: Iterable[int], results: list[Result | None]) -> None:
    for number in numbers:
        results[number] = _pick(*pairs[number])


def _pick(sampler: Sampler, logits: Logits) -> Result:
    try:
        return sampler.pick(logits)
    except ConstraintError as error:
        return error
