"""The residual stream of a model, found in llama.cpp's graph while it is computed.

Almost every architecture names the stream after a layer (`l_out-N`). Few name it between attention and feed-forward network.
That state is found from the additions in the graph: it is a sum with the state before, to which the layer then adds a value
computed from this sum. A layer without such a sum (a state space, attention and network side by side) has no such state.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.engine.graph import Tensor, address, array, is_float32, op_number, sources

_LAYER_END = re.compile(r"^l_out-(\d+)$")
_MIDDLE = re.compile(r"^(?:ffn_inp|sa_out)-\d+$")
#: What goes into the first layer; of several the last one counts, since models scale, norm or add positions to the first.
_START = ("embd", "inp_embd", "inp_scaled", "inp_norm", "inpL")
#: Operations that hand a state on.
_PASSING = ("GET_ROWS", "VIEW", "RESHAPE", "CONT", "SCALE")

#: Told of each layer in turn: (layer, state between its attention and its network or None, state after it), float32
#: (tokens, width). Layer -1 has what goes into the first. The arrays are the receiver's.
LayerObserver = Callable[[int, NDArray[np.float32] | None, NDArray[np.float32]], None]


class ResidualStream:
    """A `cb_eval` function over one evaluation of a graph. The graph's nodes are asked for in the order they are computed."""

    def __init__(self, observe: LayerObserver) -> None:
        self._observe = observe
        self._add, self._passing = op_number("ADD"), {op_number(name) for name in _PASSING}
        self._before = set[int]()  # nodes that are the state before the layer
        self._between, self._from_between = (
            set[int](),
            set[int](),
        )  # nodes that are the middle, and that are computed from it
        self._named = self._returned = False  # whether the graph names the middle; whether the layer adds to it again
        self._middle: NDArray[np.float32] | None = None

    def __call__(self, pointer: int, ask: bool, _user_data: int | None) -> bool:
        tensor = Tensor.from_address(pointer)
        name = tensor.name.decode("utf-8", "replace")
        end = _LAYER_END.match(name)
        if ask:
            self._follow(tensor, name)
            return is_float32(tensor) and (end is not None or name in _START or self._between == {pointer})
        values = array(tensor)[0, 0].astype(np.float32)
        if end is not None:
            certain = self._named or self._returned
            self._observe(int(end[1]), self._middle if certain else None, values)
            self._begin_layer(pointer)
        elif name in _START:
            self._observe(-1, None, values)
            self._begin_layer(pointer)
        else:
            self._middle = values
        return True

    def _begin_layer(self, state: int) -> None:
        self._before, self._between, self._from_between = {state}, set(), set()
        self._named = self._returned = False
        self._middle = None

    def _follow(self, tensor: Tensor, name: str) -> None:
        """Note what a node is to the stream, by what it reads."""
        node, read = address(tensor), sources(tensor)
        passing = tensor.op in self._passing
        if _MIDDLE.match(name) and not self._named:
            self._between, self._from_between, self._named = {node}, set(), True
            return
        if not self._between:
            if self._before.intersection(read):
                if passing:
                    self._before.add(node)
                elif tensor.op == self._add and not _LAYER_END.match(name):
                    self._between = {node}
            return
        is_middle = self._between.intersection(read)
        if tensor.op == self._add and is_middle and self._from_between.intersection(read):
            self._returned = True
        if passing and is_middle:
            self._between.add(node)
        elif is_middle or self._from_between.intersection(read):
            self._from_between.add(node)
