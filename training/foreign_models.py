"""Recognizes the files of other libraries, so that the rejection of such a file names the library and what to do."""

from typing import Final

_REFIT: Final = (
    "fit a LightGBM model on the same table: python -m training inspect FILE --spec SPEC.toml, then fit SPEC.toml"
)
_PICKLE_MARKS: Final = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
_GZIP_MARK, _ZLIB_MARKS, _ZIP_MARK = b"\x1f\x8b", (b"x\x01", b"x\x9c", b"x\xda"), b"PK\x03\x04"
_CATBOOST_MARK: Final = b"CBM1"
# Beginnings of XGBoost's files: JSON, Universal Binary JSON, and the older binary format.
_XGBOOST_UBJSON_MARK, _XGBOOST_BINARY_MARK = b"{L", b"binf"


def describe_foreign_file(content: bytes) -> str | None:
    """Return what a file is and what to do, if another library wrote the file; None if the file is of an unknown kind."""
    beginning = content[:1_000].lstrip()
    if content.startswith(_CATBOOST_MARK) or (beginning.startswith(b"{") and b'"oblivious_trees"' in content):
        return f"the file is a CatBoost model, which is unsupported; {_REFIT}"
    is_xgboost_json = beginning.startswith(b"{") and b'"learner"' in content
    if is_xgboost_json or content.startswith(_XGBOOST_BINARY_MARK):
        return f"the file is an XGBoost model, which is unsupported; {_REFIT}"
    if content.startswith(_XGBOOST_UBJSON_MARK) and b"learner" in content:
        return f"the file is an XGBoost model, which is unsupported; {_REFIT}"
    if content.startswith(_PICKLE_MARKS):
        return _describe_pickle(content)
    if content.startswith((_GZIP_MARK, _ZIP_MARK, *_ZLIB_MARKS)):
        return "the file is compressed (joblib compresses pickles, for example); specify the text file that save_model wrote"
    return None


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
