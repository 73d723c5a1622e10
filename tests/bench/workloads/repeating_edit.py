"""An answer that mostly repeats what its prompt says, with a prediction of it, and without anything being guessed.

The caller predicts the text as it was before two words of it were corrected, as an editor would. A small model does
not repeat a text because it is asked to, but it does once it has done it before: so the conversation has the
corrected text in it already, as an answer.
"""

from __future__ import annotations

import difflib
from dataclasses import replace

from bench.asks import MODEL, PLAIN_MODEL, Ask, Turn, ask, rendered
from bench.bare_loop import BareLoop
from bench.prompts import Prompts
from bench.setups.setup import Setup
from bench.streams import Call, Stream
from bench.workloads.workload import Figure, Values, Workload, share, tokens_per_second

_CORRECTIONS = (("harbour", "port"), ("ropes", "sails"))
_ANSWER_TOKENS = 400
_BARE_TOKENS = 180


class RepeatingEdit(Workload):
    """One stream."""

    name = "repeating-edit"
    title = "an edit that repeats its input"
    figures = (
        tokens_per_second("off", "decode, nothing is guessed"),
        tokens_per_second("on", "decode, with a prediction"),
        Figure("speedup", "with a prediction / nothing guessed", "x", decimals=2, is_compared=False),
        share("accepted", "tokens taken from the prediction"),
        share("likeness", "the answer's likeness to the text"),
        share("sameness", "likeness of both answers"),
    )

    def __init__(self, prompts: Prompts) -> None:
        self._prompts = prompts
        self._is_off_first = False

    async def measure(self, setup: Setup) -> Values:
        wrong, right = self._texts()
        asked = replace(_correction(wrong, right), model=PLAIN_MODEL)
        predicted = replace(asked, prediction=wrong, model=MODEL)
        for model in (MODEL, PLAIN_MODEL):  # which may not be loaded yet
            await Call(setup.call, replace(ask("Hello", 1), model=model)).end()
        # Which comes first changes from time to time, so that neither has a machine that is more at rest.
        self._is_off_first = not self._is_off_first
        if self._is_off_first:
            off = await Call(setup.call, asked).end()
            on = await Call(setup.call, predicted).end()
        else:
            on = await Call(setup.call, predicted).end()
            off = await Call(setup.call, asked).end()
        return {
            "off": _rate(off),
            "on": _rate(on),
            "speedup": _rate(on) / _rate(off),
            "accepted": on.usage.accepted_prediction_tokens / on.num_tokens,
            "likeness": likeness(right, off.text),
            "sameness": likeness(off.text, on.text),
        }

    def measure_bare(self, loop: BareLoop) -> Values:
        """Without a prediction."""
        (times,) = loop.run([rendered(_correction(*self._texts()))], _BARE_TOKENS).token_times
        return {"off": (len(times) - 1) / (times[-1] - times[0])}

    def _texts(self) -> tuple[str, str]:
        right = wrong = self._prompts.notes()
        for corrected, mistaken in _CORRECTIONS:
            wrong = wrong.replace(corrected, mistaken)
        return wrong, right


def likeness(text: str, other: str) -> float:
    """1 for the same text."""
    return difflib.SequenceMatcher(None, text, other, autojunk=False).ratio()


def _correction(wrong: str, right: str) -> Ask:
    turns = (
        Turn("user", f"Correct the following text:\n\n{wrong}"),
        Turn("assistant", right),
        Turn("user", "Repeat the corrected text once more, word for word."),
    )
    return Ask(turns, _ANSWER_TOKENS)


def _rate(stream: Stream) -> float:
    times = stream.chunk_times
    return (stream.num_tokens - 1) / (times[-1] - times[0])
