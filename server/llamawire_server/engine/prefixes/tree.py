"""Which slots hold which tokens in the KV cache, and which cells they share.

A radix tree over token sequences (as SGLang's RadixAttention has it, arXiv:2312.07104), except that it follows the
cells that are really there: a node stands for a run of cells, and a slot's tokens are the nodes from the root to its
end. Sequences that computed the same tokens beside each other have cells of their own, and so siblings may be alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


class Node:
    """A run of cells, which all slots below it share."""

    __slots__ = ("children", "last_used", "num_pins", "parent", "slots", "start", "tokens")

    def __init__(self, parent: Node | None, start: int, tokens: list[int]) -> None:
        self.parent = parent
        self.start = start
        """The place of its first token in its slots' sequences."""
        self.tokens = tokens
        self.children: dict[int, list[Node]] = {}
        """By their first token; more than one where sequences computed the same beside each other."""
        self.slots: set[int] = set()
        self.num_pins = 0
        """How many of its slots are pinned."""
        self.last_used = 0

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)


@dataclass(frozen=True)
class Match:
    """The longest run of tokens that is there."""

    slot: int | None = None
    """A slot that begins with it; None where nothing is there."""

    num_tokens: int = 0
    num_unpinned_tokens: int = 0
    """How many of them only slots have that are not pinned."""


class PrefixTree:
    """The cells of a KV cache, by slot and token. A cell that several slots share is there once."""

    def __init__(self) -> None:
        self.num_tokens = 0
        """Cells in use."""
        self.num_pinned_tokens = 0
        """Cells that a pinned slot has."""
        self._root = Node(None, 0, [])
        self._ends: dict[int, Node] = {}
        self._pinned: set[int] = set()
        self._clock = 0

    def length(self, slot: int) -> int:
        """How many tokens the slot holds."""
        end = self._ends.get(slot)
        return 0 if end is None else end.end

    def tokens(self, slot: int) -> list[int]:
        """What the slot holds."""
        return [token for node in reversed(list(self._path(slot))) for token in node.tokens]

    def find(
        self, tokens: Sequence[int], limit: int, *, whole_slots: bool = False, without: int | None = None
    ) -> Match:
        """The longest beginning of `tokens`, `limit` tokens at most, that some slot has.

        whole_slots: only as a slot has it that has nothing beyond it. without: a slot that does not count.
        """
        best: Match = Match()
        # Nodes whose tokens all match, with how many of the tokens down to there are not pinned.
        matched: list[tuple[Node, int]] = [(self._root, 0)]
        while matched:
            node, num_unpinned = matched.pop()
            at = node.end
            if at >= limit:
                continue
            for child in node.children.get(tokens[at], ()):
                slot = _other(child.slots, without)
                if slot is None:
                    continue
                num_common = common_length(child.tokens, tokens, min(len(child.tokens), limit - at), at)
                num_new = num_unpinned if child.num_pins else num_unpinned + num_common
                if num_common == len(child.tokens):
                    matched.append((child, num_new))
                    if whole_slots:
                        slot = next((s for s in child.slots if self._ends[s] is child and s != without), None)
                elif whole_slots:
                    slot = None
                if slot is not None and at + num_common > best.num_tokens:
                    best = Match(slot, at + num_common, num_new)
        return best

    def extend(self, slot: int, tokens: Sequence[int]) -> None:
        """The slot got `tokens` after those that it has, in cells of its own."""
        if not tokens:
            return
        end = self._ends.get(slot, self._root)
        is_pinned = slot in self._pinned
        if end is self._root or len(end.slots) > 1:
            end = self._add_child(end, list(tokens))
            end.slots.add(slot)
            end.num_pins = int(is_pinned)
            end.last_used = self._clock
            self._ends[slot] = end
        else:
            # No other slot has its end, and so no child does.
            end.tokens += tokens
        self.num_tokens += len(tokens)
        self.num_pinned_tokens += len(tokens) if is_pinned else 0

    def share(self, source: int, target: int, num_tokens: int) -> None:
        """`target`, which is empty, gets the first `num_tokens` cells of `source` too."""
        if num_tokens == 0:
            return
        node = next(node for node in self._path(source) if node.start < num_tokens)
        if node.end > num_tokens:
            node = self._split(node, num_tokens - node.start)
        self._ends[target] = node
        for shared in self._path(target):
            shared.slots.add(target)
            if target in self._pinned:
                self._pin_node(shared)

    def cut(self, slot: int, num_tokens: int) -> int:
        """Drop all but the slot's first `num_tokens` tokens; gives how many cells nobody has any more."""
        num_before = self.num_tokens
        for node in list(self._path(slot)):
            if node.end <= num_tokens:
                break
            if node.start < num_tokens:
                self._split(node, num_tokens - node.start)
            self._leave(node, slot)
        return num_before - self.num_tokens

    def pin(self, slot: int) -> None:
        """The slot's cells are needed."""
        self._pinned.add(slot)
        for node in self._path(slot):
            self._pin_node(node)

    def unpin(self, slot: int) -> None:
        """The slot's cells may go."""
        self._pinned.discard(slot)
        for node in self._path(slot):
            node.num_pins -= 1
            if not node.num_pins:
                self.num_pinned_tokens -= len(node.tokens)

    def touch(self, slot: int) -> None:
        """The slot's tokens were used just now."""
        self._clock += 1
        for node in self._path(slot):
            node.last_used = self._clock

    def is_covered(self, slot: int) -> bool:
        """Whether some other slot has all that this one has, in the same cells."""
        end = self._ends.get(slot)
        return end is None or len(end.slots) > 1

    def last_used(self, slot: int) -> int:
        """When the slot's last tokens were used; later times are larger."""
        return self._ends[slot].last_used

    def own_last_used(self, slot: int) -> int:
        """When those of its tokens were used that no other slot has: what would be lost with the slot."""
        latest = 0
        for node in self._path(slot):
            if len(node.slots) > 1:
                break
            latest = node.last_used
        return latest

    def own_start(self, slot: int) -> int:
        """Where the tokens begin that no other slot has; the slot's length where there are none."""
        start = self.length(slot)
        for node in self._path(slot):
            if len(node.slots) > 1:
                break
            start = node.start
        return start

    def end_start(self, slot: int) -> int:
        """Where the slot's last run of cells begins: those before it, if any, have other slots below them too, or
        were used at other times."""
        return self._ends[slot].start

    def _path(self, slot: int) -> Iterator[Node]:
        """The slot's nodes, last one first."""
        node = self._ends.get(slot)
        while node is not None and node is not self._root:
            yield node
            node = node.parent

    def _pin_node(self, node: Node) -> None:
        if not node.num_pins:
            self.num_pinned_tokens += len(node.tokens)
        node.num_pins += 1

    def _add_child(self, parent: Node, tokens: list[int]) -> Node:
        child = Node(parent, parent.end, tokens)
        parent.children.setdefault(tokens[0], []).append(child)
        return child

    def _split(self, node: Node, length: int) -> Node:
        """Cut a node in two; gives the first one, which has `length` tokens. The node itself becomes the second."""
        parent = node.parent
        assert parent is not None  # the root has no tokens to split
        first = Node(parent, node.start, node.tokens[:length])
        first.slots = set(node.slots)
        first.num_pins = node.num_pins
        first.last_used = node.last_used
        siblings = parent.children[node.tokens[0]]
        siblings[siblings.index(node)] = first
        node.parent = first
        node.start += length
        node.tokens = node.tokens[length:]
        first.children[node.tokens[0]] = [node]
        return first

    def _leave(self, node: Node, slot: int) -> None:
        """The slot, whose end this node is, ends before it."""
        parent = node.parent
        assert parent is not None
        node.slots.discard(slot)
        if slot in self._pinned:
            node.num_pins -= 1
            if not node.num_pins:
                self.num_pinned_tokens -= len(node.tokens)
        if not node.slots:
            self.num_tokens -= len(node.tokens)
            siblings = parent.children[node.tokens[0]]
            siblings.remove(node)
            if not siblings:
                del parent.children[node.tokens[0]]
        else:
            self._join(node)
        if parent is self._root:
            del self._ends[slot]
        else:
            self._ends[slot] = parent

    def _join(self, node: Node) -> None:
        """Make one node of a node and its only child, where the same slots have both."""
        children = [child for alike in node.children.values() for child in alike]
        if len(children) != 1 or len(children[0].slots) != len(node.slots):
            return
        (child,) = children
        node.tokens += child.tokens
        node.children = child.children
        node.last_used = max(node.last_used, child.last_used)
        for grandchild in (entry for alike in node.children.values() for entry in alike):
            grandchild.parent = node
        for slot in node.slots:
            if self._ends[slot] is child:
                self._ends[slot] = node


def _other(slots: set[int], without: int | None) -> int | None:
    return next((slot for slot in slots if slot != without), None)


def common_length(run: Sequence[int], tokens: Sequence[int], limit: int, at: int = 0) -> int:
    """How many of the run's tokens are those of `tokens` from `at` on; at most `limit`, which both have."""
    if run[:limit] == tokens[at : at + limit]:
        return limit
    # Slices are compared in C; a loop over long prompts would take milliseconds.
    low, high = 0, limit
    while high - low > 1:
        middle = (low + high) // 2
        if run[low:middle] == tokens[at + low : at + middle]:
            low = middle
        else:
            high = middle
    return low
