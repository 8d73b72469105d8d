"""An ONNX file that uses what the exporter never writes is rejected before ONNX Runtime opens it."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.bundle import read_bundle
from models.errors import BundleInvalid
from models.onnx_file import check_onnx_file
from models.onnx_scorer import open_session
from tests.small import SmallFamily


def small_model(small: SmallFamily) -> onnx.ModelProto:
    """Read the explanation graph of the small family."""
    return onnx.load_from_string(read_bundle(small.bundle_folder).explain)


def refer_to_another_file(model: onnx.ModelProto) -> None:
    """Add an initializer that reads its data from a file."""
    tensor = numpy_helper.from_array(np.zeros(32, dtype=np.uint8), "secret")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="grounds-master.key")
    model.graph.initializer.append(tensor)


def refer_to_another_file_in_an_attribute(model: onnx.ModelProto) -> None:
    """Add a constant whose tensor reads its data from a file, without stating the location field."""
    tensor = numpy_helper.from_array(np.zeros(32, dtype=np.uint8), "secret")
    tensor.external_data.add(key="location", value="grounds-master.key")
    model.graph.node.append(helper.make_node("Constant", [], ["secret"], value=tensor))


def loop_for_ever(model: onnx.ModelProto) -> None:
    """Add a loop without an end condition."""
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["forever"], body=body))


def hide_a_subgraph_in_an_allowed_operator(model: onnx.ModelProto) -> None:
    """Add a subgraph to an operator that normally has no subgraph."""
    model.graph.node[0].attribute.append(helper.make_attribute("body", helper.make_graph([], "body", [], [])))


def use_another_operator(model: onnx.ModelProto) -> None:
    """Add an operator that the exporter never writes."""
    model.graph.node.append(helper.make_node("RandomNormal", [], ["noise"], shape=[1]))


def use_another_domain(model: onnx.ModelProto) -> None:
    """Add an operator set that only ONNX Runtime defines."""
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def use_a_newer_operator_set(model: onnx.ModelProto) -> None:
    """Raise the version of the operator set."""
    model.opset_import[0].version = 99


def define_a_function(model: onnx.ModelProto) -> None:
    """Redefine an allowed operator as a function."""
    model.functions.append(helper.make_function("", "Add", [], [], [], [helper.make_opsetid("", 21)]))


def add_a_sparse_tensor(model: onnx.ModelProto) -> None:
    """Add a sparse initializer, whose values could be external too."""
    values = numpy_helper.from_array(np.ones(1, dtype=np.float32), "values")
    indices = numpy_helper.from_array(np.zeros(1, dtype=np.int64), "indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))


def add_field_bytes(content: bytes, tag: bytes, value: bytes) -> bytes:
    """Append a field with this tag to an encoded message."""
    length, encoded = len(value), b""
    while length > 0x7F:
        encoded, length = encoded + bytes([length & 0x7F | 0x80]), length >> 7
    return content + tag + encoded + bytes([length]) + value


def test_a_graph_behind_an_overlong_tag_is_rejected_although_the_runtime_reads_it(small: SmallFamily) -> None:
    """The C++ parser drops the bits of a tag above the 32nd, so that the graph's tag can be written in a second way."""
    import onnxruntime

    model = small_model(small)
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    content = add_field_bytes(model.SerializeToString(), bytes.fromhex("ba80808010"), graph)

    assert onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).get_inputs()
    with pytest.raises(BundleInvalid, match="not readable"):
        check_onnx_file(content)


def test_a_file_in_the_format_of_the_runtime_is_rejected_even_if_it_is_also_a_valid_message() -> None:
    """ONNX Runtime recognizes its own format by bytes that can be part of a text in a protobuf message."""
    content = add_field_bytes(b"", bytes([0x12]), b"\0\0ORTM" + bytes(10))
    assert onnx.load_from_string(content).producer_name == "\0\0ORTM" + "\0" * 10

    with pytest.raises(BundleInvalid, match="ORT format"):
        check_onnx_file(content)
    with pytest.raises(BundleInvalid, match="ORT format"):
        open_session(content, ("margin",))


ATTACKS = [
    (refer_to_another_file, "data in other files"),
    (refer_to_another_file_in_an_attribute, "data in other files"),
    (loop_for_ever, "subgraphs"),
    (hide_a_subgraph_in_an_allowed_operator, "subgraphs"),
    (use_another_operator, "RandomNormal"),
    (use_another_domain, "com.microsoft"),
    (use_a_newer_operator_set, "99"),
    (define_a_function, "functions"),
    (add_a_sparse_tensor, "sparse"),
]


@pytest.mark.parametrize(("change", "problem"), ATTACKS, ids=[change.__name__ for change, _ in ATTACKS])
def test_a_crafted_file_is_rejected_before_the_runtime_opens_it(
    small: SmallFamily, change: Callable[[onnx.ModelProto], None], problem: str
) -> None:
    model = small_model(small)
    change(model)

    with pytest.raises(BundleInvalid, match=problem):
        open_session(model.SerializeToString(), ("contributions", "margin"))


def test_the_runtime_alone_would_read_the_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Show that the check is needed, because the attack works without it."""
    import onnxruntime

    (tmp_path / "grounds-master.key").write_bytes(b"0123456789abcdef0123456789abcdef")
    monkeypatch.chdir(tmp_path)
    output = helper.make_tensor_value_info("secret", TensorProto.UINT8, [32])
    model = helper.make_model(
        helper.make_graph([helper.make_node("Identity", ["key"], ["secret"])], "steal", [], [output]),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    refer_to_another_file(model)
    model.graph.initializer[0].name = "key"
    content = model.SerializeToString()

    stolen = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {})[0]

    assert bytes(stolen) == b"0123456789abcdef0123456789abcdef"
    with pytest.raises(BundleInvalid):
        check_onnx_file(content)


def test_truncated_files_and_noise_raise_nothing_but_a_rejection(small: SmallFamily) -> None:
    content = read_bundle(small.bundle_folder).score
    for length in range(0, len(content), max(1, len(content) // 200)):
        try:
            check_onnx_file(content[:length])
        except BundleInvalid:
            continue
    for _ in range(300):
        noise = os.urandom(64)
        try:
            check_onnx_file(noise)
        except BundleInvalid:
            continue
