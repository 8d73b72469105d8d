"""The command `inspect`."""

from pathlib import Path

from pydantic import ValidationError

from training.console import Console
from training.errors import SpecInvalid
from training.inspection.inspection import inspect_file, print_inspection, write_starter_spec
from training.spec.reading import ReadingSpec


def inspect_unknown_file(
    file: Path,
    spec: Path | None,
    *,
    as_json: bool,
    customer: str | None,
    label: str | None,
    separator: str | None,
    decimal: str | None,
    thousands: str | None,
    encoding: str | None,
) -> None:
    """Describe an unknown file, and write a starter spec for it that can be fitted."""
    stated = {"separator": separator, "decimal": decimal, "thousands": thousands, "encoding": encoding}
    try:
        reading = ReadingSpec.model_validate({name: value for name, value in stated.items() if value is not None})
    except ValidationError as error:
        raise SpecInvalid(
            "; ".join(f"--{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            + "; correct these options"
        ) from error
    console = Console(1)
    found = inspect_file(file, reading, customer, label)
    print_inspection(found, console, as_json=as_json)
    if spec is not None:
        rejection = write_starter_spec(found, file, spec, reading)
        if as_json:
            return
        console.info(f"wrote the starter spec: {spec}")
        for line in rejection.splitlines():
            console.info(f"it cannot be fitted yet: {line}")
        first = "correct the spec or the file, and" if rejection else "to fit a model,"
        console.info(f"{first} run: python -m training fit {spec}")
