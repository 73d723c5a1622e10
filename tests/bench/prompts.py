"""Prompts that nobody has seen before: a cache of earlier ones must not make a round look faster.

The numbers in them have six digits each, so that every prompt of a kind is as long as the next.
"""

from __future__ import annotations

import itertools

_FIRST, _STEP = 100_003, 7

_STORY = "{number}. Tell a very long story about the number {number}, with many characters and places."
_FACT = "The number {number} comes before {next}. "
_SHORT = "{number}. Name a colour."
_RULES = (
    "You are the assistant of house {number}, and this is what you know about the house.\n{rules}"
    "Answer in plain words, and keep to what is written here."
)
_RULE = "- Room {room} belongs to {owner}, is painted {colour} and is cleaned on {day}.\n"
_OWNERS = ("Anna", "Boris", "Clara", "David", "Emma", "Felix", "Grace")
_COLOURS = ("red", "green", "blue", "white", "yellow")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_QUESTION = "Which rooms are painted {colour}, and when is room {room} cleaned? Tell me about them at length."
_NUM_RULES = 31
_TOKENS_OF_FACT = 19
_SENTENCES = (
    "The harbour opens at six in the morning.",
    "Fishing boats come back with cod, herring and mackerel.",
    "The fish is sold in the hall beside the pier.",
    "Cooks from the town arrive first and choose the best.",
    "After nine the market is open to everyone.",
    "The ferry to the island leaves at ten and returns at four.",
    "Tickets are sold in the red house.",
    "Dogs travel for free.",
    "In winter the ferry runs only on Saturdays.",
    "The lighthouse on the hill can be visited on Sundays.",
    "A guide tells the story of the storm of 1911.",
    "Children build boats of paper in the old school.",
    "The baker opens at five and closes at noon.",
    "Bicycles can be borrowed at the town hall.",
    "The museum shows maps, ropes and old engines.",
    "On the last day of summer there is music on the beach.",
)


class Prompts:
    """A source of them, for one run of the benchmark."""

    def __init__(self) -> None:
        self._numbers = itertools.count(_FIRST, _STEP)

    def story(self) -> str:
        """A short prompt with a long answer."""
        return _STORY.format(number=next(self._numbers))

    def short(self) -> str:
        """The shortest."""
        return _SHORT.format(number=next(self._numbers))

    def facts(self, num_tokens: int) -> str:
        """A prompt of about so many tokens."""
        return "".join(self._fact() for _ in range(max(1, num_tokens // _TOKENS_OF_FACT)))

    def house_rules(self) -> str:
        """A system prompt of about 660 tokens that begins like no other."""
        number = next(self._numbers)
        rules = "".join(
            _RULE.format(
                room=101 + place,
                owner=_OWNERS[(number + place) % len(_OWNERS)],
                colour=_COLOURS[(number + place) % len(_COLOURS)],
                day=_DAYS[(number + place) % len(_DAYS)],
            )
            for place in range(_NUM_RULES)
        )
        return _RULES.format(number=number, rules=rules)

    def question(self) -> str:
        """About the house rules."""
        number = next(self._numbers)
        return _QUESTION.format(colour=_COLOURS[number % len(_COLOURS)], room=101 + number % _NUM_RULES)

    def notes(self) -> str:
        """A text of about 180 tokens that the model repeats word for word if it is asked to."""
        number = next(self._numbers)
        start = number % len(_SENTENCES)
        return " ".join((f"Notes of day {number}.", *_SENTENCES[start:], *_SENTENCES[:start]))

    def _fact(self) -> str:
        number = next(self._numbers)
        return _FACT.format(number=number, next=number + 1)
