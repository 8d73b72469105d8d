"""ONNX tensors with the exact bytes of numpy arrays."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def double_tensor(name: str, values: list[float] | NDArray[np.float64]) -> onnx.TensorProto:
    """Return a tensor of doubles with the shape of the values; NaN, infinities and -0.0 keep their bits."""
    array = np.asarray(values, dtype=np.float64)
    return helper.make_tensor(name, TensorProto.DOUBLE, array.shape, array.tobytes(), raw=True)


def bool_tensor(name: str, values: NDArray[np.bool_]) -> onnx.TensorProto:
    """Return a tensor of booleans with the shape of the values."""
    return helper.make_tensor(name, TensorProto.BOOL, values.shape, values.tobytes(), raw=True)


def integer_tensor(
    name: str, values: NDArray[np.integer[Any]], dtype: type[np.integer[Any]] = np.int64
) -> onnx.TensorProto:
    """Return a tensor of integers with the shape of the values."""
    return numpy_helper.from_array(values.astype(dtype), name)
