"""Reads a flow file: what a cycle trains, when it stops, and what it does with the result."""

import tomllib
from pathlib import Path

from pydantic import Field, ValidationError

from grounds_record.printable_text import hidden_text_problems
from training.errors import SpecInvalid
from training.spec.part import SpecPart


class DataChecks(SpecPart):
    """The largest changes of the data since the bundle that serves now was fitted. A larger change stops the cycle.

    Attributes:
        rows_fall_max: Largest share by which the number of fit rows may fall.
        missing_change_max: Largest change of the share of missing values of a feature, as a difference of two shares.
        psi_max: Largest population stability index of a feature.
        outside_share_max: Largest share of the rows in which a number is outside the range of the earlier fit.
    """

    rows_fall_max: float = Field(default=0.2, ge=0, le=1)
    missing_change_max: float = Field(default=0.1, ge=0, le=1)
    psi_max: float = Field(default=0.25, gt=0)
    outside_share_max: float = Field(default=0.01, ge=0, le=1)


class SigningSettings(SpecPart):
    """The private key that signs the bundle, and the key's name."""

    key: Path
    name: str = "grounds.local/bundles"


class ServerSettings(SpecPart):
    """The server that gets the results.

    Attributes:
        config: The configuration file of the server.
        reason: The reason for the activation or the proposal, which is recorded permanently; {on} is the day of the cycle.
        markets: The markets to activate the bundle for; if empty, all markets of the bundle.
        keep: Number of the newest cycles whose bundles stay available; bundles of earlier cycles that serve no market
            are retired. None retires no bundle.
    """

    config: Path
    reason: str = "cycle of {on}"
    markets: tuple[str, ...] = ()
    keep: int | None = Field(default=None, ge=1)


class ScoringSettings(SpecPart):
    """The scoring run after the training.

    Attributes:
        at: Day as of which the customers of a log are scored, as a date or relative to the day of the cycle, such as
            "day"; empty for a table, whose feature file is scored.
        suppress: File of customers who must not be contacted.
    """

    at: str = ""
    suppress: Path | None = None


class Flow(SpecPart):
    """A flow file. Its relative paths are relative to its own folder.

    Attributes:
        spec: Spec file of the model family.
        data: Table or transaction log to read instead of the one in the spec.
        status: Status table of a log to read instead of the one in the spec.
        bundles: Folder of the bundle catalog.
        cycles: Folder of the cycles. Each cycle has a folder of its own, named after its day.
        checks: The data checks.
        sign: The signing key; None for no signature.
        server: The server; None to end with the bundle.
        score: The scoring run; None for no run.
    """

    spec: Path
    data: Path | None = None
    status: Path | None = None
    bundles: Path
    cycles: Path
    checks: DataChecks = DataChecks()
    sign: SigningSettings | None = None
    server: ServerSettings | None = None
    score: ScoringSettings | None = None


def read_flow(path: Path) -> Flow:
    """Read a flow file, with its paths made relative to the working directory.

    Raises:
        SpecInvalid: The file is unreadable or invalid; the message lists every problem with its field.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecInvalid(f"{path}: {error.strerror}; specify the path of a flow file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SpecInvalid(f"{path}: is not valid TOML: {error}; correct the file") from error
    problems = [f"  {field}: {problem}" for field, problem in hidden_text_problems(content)]
    if not problems:
        try:
            return _with_folder(Flow.model_validate(content), path.parent)
        except ValidationError as error:
            problems = [f"  {'.'.join(map(str, each['loc'])) or 'flow'}: {each['msg']}" for each in error.errors()]
    raise SpecInvalid("\n".join([f"{path}:", *problems, "correct these fields; training/README.md lists all of them"]))


def _with_folder(flow: Flow, folder: Path) -> Flow:
    """Return a flow whose relative paths begin with a folder."""

    def rebase(part: SpecPart) -> dict[str, object]:
        fields = {name: getattr(part, name) for name in type(part).model_fields}
        return {
            name: folder / value
            if isinstance(value, Path)
            else value.model_copy(update=rebase(value))
            if isinstance(value, SpecPart)
            else value
            for name, value in fields.items()
        }

    return flow.model_copy(update=rebase(flow))
