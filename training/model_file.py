"""Reads the text file of a LightGBM model. Files of other libraries, and damaged files, are rejected before LightGBM reads them."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import lightgbm

from training.errors import ModelRejected
from training.foreign_models import describe_foreign_file


@dataclass(frozen=True, slots=True, eq=False)
class ModelFile:
    """A LightGBM model that was fitted elsewhere.

    Attributes:
        name: Name of the file.
        text: The model in LightGBM's text format, without a byte order mark, and with line feeds as the only line ends.
        booster: The model that LightGBM reads from the text.
        sha256: SHA-256 of the bytes of the file.
    """

    name: str
    text: str
    booster: lightgbm.Booster
    sha256: str


def read_model_file(path: Path) -> ModelFile:
    """Read a model.

    Raises:
        ModelRejected: The file is unreadable, truncated, or not a LightGBM model; the message names the library that wrote
            the file if it is known.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _rejection(path, error) from error
    text = _read_text(path, content)
    return ModelFile(path.name, text, _read_model(path, text), hashlib.sha256(content).hexdigest())


def _read_text(path: Path, content: bytes) -> str:
    """Return the text of a model without a byte order mark, and with line feeds as the only line ends.

    The export stores the text that this function returns. LightGBM would terminate the process if it read a file with
    other line ends, or a truncated file.

    Raises:
        ModelRejected: The file is not text, or truncated.
    """
    foreign = describe_foreign_file(content)
    if foreign is not None:
        raise ModelRejected(f"{path}: {foreign}")
    try:
        text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig").read()
    except ValueError as error:
        raise _rejection(path, error) from error
    if "end of trees" not in text.splitlines():
        raise _rejection(path, "the line 'end of trees' is missing, so the file is truncated or not a model")
    return text


def _read_model(path: Path, text: str) -> lightgbm.Booster:
    """Return the model of a text in LightGBM's format; raise ModelRejected if the text is not a valid model."""
    try:
        booster = lightgbm.Booster(model_str=text)
        booster.dump_model()  # this call parses every number; the constructor does not
    except (ValueError, lightgbm.basic.LightGBMError) as error:
        raise _rejection(path, error) from error
    return booster


def _rejection(path: Path, error: Exception | str) -> ModelRejected:
    """Return the error for a file that is not a LightGBM model."""
    return ModelRejected(
        f"{path}: cannot be read as a LightGBM model: {error}; write the file with booster.save_model(PATH) "
        "(scikit-learn: model.booster_.save_model(PATH))"
    )
