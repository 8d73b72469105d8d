"""Writes a base into a LightGBM model, as trees that each split on one feature.

A step function of one feature is a tree with one leaf for each step. A model with a base is therefore an ordinary
LightGBM model whose last trees are the base: first the trees that LightGBM fitted, then a tree with a single leaf for the
intercept, and then one tree for each term. Everything that reads the model (the export, the release checks, replay,
counterfactuals, LightGBM itself) works on it without knowing about the base, and its margin is the margin of the fitted
trees plus the base, added in doubles in this order.

The rows of the fit are the covers of these trees. A path-dependent explanation therefore compares a term with the mean of
the term over the fit rows.
"""

import re
from dataclasses import dataclass, field

import lightgbm

from training.fitting.base import Base, BaseTerm

_CATEGORICAL, _DEFAULT_LEFT, _MISSING_IS_NAN = 1, 2, 8  # bits of LightGBM's decision_type
_BITS_OF_WORD = 32


def append_base(booster: lightgbm.Booster, base: Base, *, keep_trees: bool = True) -> lightgbm.Booster:
    """Return a booster with the trees of a base after its own trees.

    Args:
        booster: A binary model that was fitted with the margins of the base as init_score.
        base: The base.
        keep_trees: Whether the trees of the booster stay. If not, the model is the base alone.
    """
    head, tail = str(booster.model_to_string()).split("\nend of trees", maxsplit=1)
    header, *trees = head.split("\nTree=")
    blocks = [tree.partition("\n")[2].rstrip("\n") for tree in trees] if keep_trees else []
    blocks += [_constant_tree(base.intercept, sum(base.terms[0].counts))]
    blocks += [_TermTree(term).text() for term in base.terms]
    numbered = [f"Tree={number}\n{block}\n\n\n" for number, block in enumerate(blocks)]
    # LightGBM finds the trees by their sizes.
    sizes = " ".join(str(len(block)) for block in numbered)
    header = re.sub(r"(?m)^tree_sizes=.*$", f"tree_sizes={sizes}", header).rstrip("\n")
    return lightgbm.Booster(model_str=f"{header}\n\n{''.join(numbered)}end of trees{tail}")


def _constant_tree(value: float, count: int) -> str:
    """Return the text of a tree with one leaf."""
    return "\n".join(
        [
            "num_leaves=1",
            "num_cat=0",
            "split_feature=",
            "split_gain=",
            "threshold=",
            "decision_type=",
            "left_child=",
            "right_child=",
            f"leaf_value={value!r}",
            f"leaf_weight={count}",
            f"leaf_count={count}",
            "internal_value=",
            "internal_weight=",
            "internal_count=",
            "is_linear=0",
            "shrinkage=1",
        ]
    )


@dataclass
class _TermTree:
    """The tree of one term, in the flat lists of LightGBM's text format; a leaf is referred to as -1 - its index."""

    term: BaseTerm
    thresholds: list[float] = field(default_factory=list)
    decisions: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    node_counts: list[int] = field(default_factory=list)
    words: list[list[int]] = field(default_factory=list)  # bit sets of categorical splits, in words of 32 bits
    leaves: list[int] = field(default_factory=list)  # steps of the leaves

    def __post_init__(self) -> None:
        """Build the tree."""
        last = len(self.term.values) - 1
        missing_step = last
        if not self.term.counts[last]:
            # A leaf without rows would have no cover, so an unseen missing value shares a leaf with a step of its value.
            missing_step = self.term.values.index(self.term.values[last])
        if self.term.category:
            self._add_levels([step for step in range(last) if step != missing_step], missing_step)
        elif missing_step != last:
            self._add_search(0, last - 1, missing_step)
        else:
            # Every present number is at most infinity, so this split separates missing values.
            node = self._add_node(float("inf"), _MISSING_IS_NAN, sum(self.term.counts))
            self.left[node] = self._add_search(0, last - 1, 0)
            self.right[node] = self._add_leaf(last)

    def text(self) -> str:
        """Return the text of the tree after its number."""
        values, counts = self.term.values, self.term.counts
        lists: dict[str, list[str]] = {
            "split_feature": [str(self.term.position)] * len(self.left),
            "split_gain": ["0"] * len(self.left),
            "threshold": [repr(threshold) for threshold in self.thresholds],
            "decision_type": [str(decision) for decision in self.decisions],
            "left_child": [str(child) for child in self.left],
            "right_child": [str(child) for child in self.right],
            "leaf_value": [repr(values[step]) for step in self.leaves],
            "leaf_weight": [str(counts[step]) for step in self.leaves],
            "leaf_count": [str(counts[step]) for step in self.leaves],
            "internal_value": ["0"] * len(self.left),
            "internal_weight": [str(count) for count in self.node_counts],
            "internal_count": [str(count) for count in self.node_counts],
        }
        if self.words:
            ends = [0]
            for words in self.words:
                ends.append(ends[-1] + len(words))
            lists["cat_boundaries"] = [str(end) for end in ends]
            lists["cat_threshold"] = [str(word) for words in self.words for word in words]
        lines = [f"{name}={' '.join(numbers)}" for name, numbers in lists.items()]
        return "\n".join(
            [f"num_leaves={len(self.leaves)}", f"num_cat={len(self.words)}", *lines, "is_linear=0", "shrinkage=1"]
        )

    def _add_search(self, low: int, high: int, missing_step: int) -> int:
        """Append the binary search among the steps `low` to `high`, including both, and return its root."""
        if low == high:
            return self._add_leaf(low)
        half = (low + high) // 2
        decision = _MISSING_IS_NAN + (_DEFAULT_LEFT if missing_step <= half else 0)
        node = self._add_node(self.term.edges[half], decision, sum(self.term.counts[low : high + 1]))
        self.left[node] = self._add_search(low, half, missing_step)
        self.right[node] = self._add_search(half + 1, high, missing_step)
        return node

    def _add_levels(self, steps: list[int], rest: int) -> int:
        """Append a chain of splits, each of which separates one level, and return its root.

        Args:
            steps: The steps that have levels of their own.
            rest: The step of all other levels, and of a missing level.
        """
        if not steps:
            return self._add_leaf(rest)
        counts = self.term.counts
        node = self._add_node(float(len(self.words)), _CATEGORICAL, sum(counts[step] for step in (*steps, rest)))
        code = int(self.term.edges[steps[0]])
        words = [0] * (code // _BITS_OF_WORD + 1)
        words[-1] = 1 << code % _BITS_OF_WORD
        self.words.append(words)
        self.left[node] = self._add_leaf(steps[0])
        self.right[node] = self._add_levels(steps[1:], rest)
        return node

    def _add_node(self, threshold: float, decision: int, count: int) -> int:
        """Append an inner node, whose children are set later, and return its index."""
        self.thresholds.append(threshold)
        self.decisions.append(decision)
        self.node_counts.append(count)
        self.left.append(0)
        self.right.append(0)
        return len(self.left) - 1

    def _add_leaf(self, step: int) -> int:
        """Append the leaf of a step, and return the reference to it."""
        self.leaves.append(step)
        return -len(self.leaves)
