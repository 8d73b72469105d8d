"""Builds a graph node by node: chooses the names of intermediate results, and stores equal constants once."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

_SHARED_BYTES_MAX = 1024  # larger constants hardly repeat, and comparing them would take long


class GraphWriter:
    """The nodes and the constants of a part of a graph.

    Attributes:
        nodes: Operators in the order of execution.
        constants: Initializers of the operators.
    """

    def __init__(self, prefix: str) -> None:
        """Begin a part whose results and constants have names that begin with `prefix`."""
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._prefix = prefix
        self._shared: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append an operator with one output, and return the name of the output."""
        output = output or f"{self._prefix}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, values: NDArray[Any]) -> str:
        """Store an array with its exact bytes, and return the name of the constant."""
        values = np.asarray(values, order="C")
        key = (values.dtype.str, values.shape, values.tobytes() if values.nbytes <= _SHARED_BYTES_MAX else b"")
        if key[2] and key in self._shared:
            return self._shared[key]
        name = f"{self._prefix}_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        if key[2]:
            self._shared[key] = name
        return name

    def integers(self, *values: int) -> str:
        """Store a vector of integers, such as a shape or axes, and return the name of the constant."""
        return self.constant(np.array(values, dtype=np.int64))

    def indices(self, values: NDArray[np.integer[Any]]) -> str:
        """Store a vector of indices in 32 bits, and return the name of the same indices in 64 bits.

        ONNX Runtime computes the conversion once, when it opens the file, so only the file becomes smaller.
        """
        return self.add("Cast", self.constant(values.astype(np.int32)), to=TensorProto.INT64)

    def integer_words(self, words: NDArray[np.int16], *, flat: bool = True) -> str:
        """Store integers in 16 bits, and return the name of the same integers in 32 bits; see `indices`."""
        return self.add("Cast", self.constant(words.reshape(-1) if flat else words), to=TensorProto.INT32)

    def reshape(self, data: str, *shape: int) -> str:
        """Append a change of shape, and return the result; 0 leaves a dimension as it is, and -1 stands for the rest."""
        return self.add("Reshape", data, self.integers(*shape))
