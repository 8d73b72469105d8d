"""Recognizes the files of other libraries, so that the rejection of such a file names the library and what to do."""

from typing import Final

_REFIT: Final = (
    "fit a LightGBM model on the same table: python -m training inspect FILE --spec SPEC.toml, then fit SPEC.toml"
)
_PICKLE_MARKS: Final = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
_COMPRESSED_MARKS: Final = (b"\x1f\x8b", b"PK\x03\x04", b"x\x01", b"x\x9c", b"x\xda")  # gzip, zip, and zlib
_CATBOOST_MARK: Final = b"CBM1"
_CATBOOST_JSON_KEYS: Final = (b'"oblivious_trees"', b'"features_info"')
# Beginnings of XGBoost's files: JSON, Universal Binary JSON, and the older binary format.
_XGBOOST_JSON_KEY, _XGBOOST_UBJSON_MARK, _XGBOOST_BINARY_MARK = b'"learner"', b"{L", b"binf"
_LIGHTGBM_JSON_KEY: Final = b'"tree_info"'
# An ONNX file is a protobuf message. It begins with field 1 (ir_version, a small number). The next field is 2
# (producer), 7 (graph) or 8 (operator sets).
_ONNX_FIRST_TAG, _ONNX_VERSION_MAX, _ONNX_NEXT_TAGS = 0x08, 0x20, (0x12, 0x3A, 0x42)


def describe_foreign_file(content: bytes) -> str | None:
    """Return what a file is and what to do, if another library wrote the file; None if the file is of an unknown kind."""
    if library := _library_of_model(content):
        return f"the file is {library} model, which is unsupported; {_REFIT}"
    if content[:1_000].lstrip().startswith(b"{") and _LIGHTGBM_JSON_KEY in content:
        return "the file is the JSON text of a LightGBM model; write the model with booster.save_model(PATH)"
    if _is_onnx(content):
        return (
            "the file is an ONNX model, which does not contain the covers of LightGBM's splits; if it was converted from a LightGBM "
            f"model, specify the text file that save_model wrote; otherwise {_REFIT}"
        )
    if content.startswith(_PICKLE_MARKS):
        return _describe_pickle(content)
    if content.startswith(_COMPRESSED_MARKS):
        return "the file is compressed (joblib compresses pickles, for example); specify the text file that save_model wrote"
    return None


def _library_of_model(content: bytes) -> str | None:
    """Return the library whose own model format the file has, with its article, as in "a CatBoost"; None if unknown."""
    is_json = content[:1_000].lstrip().startswith(b"{")
    if content.startswith(_CATBOOST_MARK) or (is_json and any(key in content for key in _CATBOOST_JSON_KEYS)):
        return "a CatBoost"
    is_ubjson = content.startswith(_XGBOOST_UBJSON_MARK) and b"learner" in content
    if content.startswith(_XGBOOST_BINARY_MARK) or is_ubjson or (is_json and _XGBOOST_JSON_KEY in content):
        return "an XGBoost"
    return None


def _is_onnx(content: bytes) -> bool:
    """Return whether the content begins like an ONNX file."""
    if len(content) < 3:  # noqa: PLR2004 - the bytes that are compared
        return False
    first, version, following = content[:3]
    return first == _ONNX_FIRST_TAG and version <= _ONNX_VERSION_MAX and following in _ONNX_NEXT_TAGS


def _describe_pickle(content: bytes) -> str:
    """Return what a pickle contains, by the names of the modules in its bytes. A pickle is never opened, because it can run code."""
    if b"lightgbm" in content:
        return (
            "the file is a pickle of a LightGBM model, and pickles are not opened because they can run code; write the model as "
            "text with booster.save_model(PATH) (scikit-learn: model.booster_.save_model(PATH))"
        )
    for module, library in ((b"xgboost", "an XGBoost"), (b"catboost", "a CatBoost"), (b"sklearn", "a scikit-learn")):
        if module in content:
            return f"the file is a pickle of {library} model, which is unsupported; {_REFIT}"
    return "the file is a pickle, and pickles are not opened because they can run code; specify the text file that save_model wrote"
