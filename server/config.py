"""The server's configuration: environment over file over defaults, checked once, immutable."""

import ipaddress
import os
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from grounds_record.note import is_key_name
from models.field_problems import field_path, field_problems
from server.errors import ConfigRefused

_ENV_PREFIX = "GROUNDS_"
_CLIENT_VARIABLES = {"GROUNDS_ADDRESS"}  # read by the client, so not a misspelt setting
_DATABASE_SCHEMES = ("sqlite://", "postgresql://", "postgresql+psycopg://")


class Settings(BaseSettings):
    """Every setting, from CONFIG.toml or from GROUNDS_<NAME> in the environment.

    Attributes:
        host: Address to listen on. Loopback only: the server does not authenticate its callers.
        port: 0 selects a free port, which the application log names.
        bundles: Folder of the bundle catalog with its ACTIVE.toml files. ACTIVE.toml is trusted; every bundle is verified
            against its manifest.
        policy: The policy file. Trusted.
        retention: The retention table that `retain` applies. Trusted.
        database: SQLAlchemy URL, SQLite or PostgreSQL. Trusted.
        keys: SQLAlchemy URL of the customers' keys: another database, absent from every backup of the record log.
        master_key: File of the key that wraps the customers' keys; created at the first start.
        signing_key: File of the key that signs checkpoints; created at the first start.
        high_water_mark: File of the newest committed checkpoint, in no backup of the database. None: beside the signing key,
            with the suffix .mark.
        log_origin: Name of the record log, permanent and unique.
        anchor_folder: Folder to which checkpoints are written, one file each; None writes none.
        anchor_command: Command that receives each checkpoint on its standard input; None runs none.
        anchor_seconds: Interval at which a new checkpoint is pushed.
        request_bytes_max: gRPC rejects larger requests.
        requests_in_flight_max: gRPC answers RESOURCE_EXHAUSTED at once to requests beyond it.
        store_threads: Threads that wait for the database on behalf of the loan desk, and as many for the CRM and auditors
            together. Each uses one connection to the database and one to the database of keys.
        drain_seconds_max: Time for calls in progress to finish after SIGTERM.
        reload_seconds: Interval at which ACTIVE.toml, the bundles and the policy are read again.
        churn_runs_kept: Number of newest runs of each market that are kept when another is loaded.
        churn_token_days: Lifetime of page and delta tokens of the churn feed, and of the run that a token belongs to.
        reflection: Whether the gRPC reflection service answers.
    """

    model_config = SettingsConfigDict(env_prefix=_ENV_PREFIX, extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=50051, ge=0, le=65535)
    bundles: Path = Path("models/bundles")
    policy: Path = Path(__file__).parent / "policy.toml"
    retention: Path = Path(__file__).parent / "retention.toml"
    database: str = "sqlite:///grounds.db"
    keys: str = "sqlite:///grounds-keys.db"
    master_key: Path = Path("grounds-master.key")
    signing_key: Path = Path("grounds-signing.key")
    high_water_mark: Path | None = None
    log_origin: str = "grounds.local/log"
    anchor_folder: Path | None = None
    anchor_command: str | None = None
    anchor_seconds: float = Field(default=60.0, gt=0)
    request_bytes_max: int = Field(default=256 * 1024, ge=1024)
    requests_in_flight_max: int = Field(default=256, ge=1)
    store_threads: int = Field(default=4, ge=1, le=64)
    drain_seconds_max: float = Field(default=10.0, ge=0)
    reload_seconds: float = Field(default=1.0, gt=0)
    churn_runs_kept: int = Field(default=3, ge=2)
    churn_token_days: float = Field(default=7.0, ge=0.1)
    reflection: bool = True

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        """Reject an address that other machines can reach."""
        if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            raise ValueError("must be a loopback address, such as 127.0.0.1: callers are not authenticated")
        return host

    @field_validator("database", "keys")
    @classmethod
    def _check_database_url(cls, url: str) -> str:
        """Reject an unsupported URL. The message does not repeat it, because it may contain a password."""
        if not url.startswith(_DATABASE_SCHEMES):
            raise ValueError(f"must begin with {' or '.join(_DATABASE_SCHEMES)}, such as sqlite:////var/lib/grounds.db")
        return url

    @field_validator("log_origin")
    @classmethod
    def _check_log_origin(cls, origin: str) -> str:
        """Reject a name that cannot be the name of a signing key."""
        if not is_key_name(origin):
            raise ValueError("must be a name without spaces, '+' and control characters, such as example.com/log")
        return origin

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources by precedence: arguments, environment, file; no .env and no secrets folder."""
        del dotenv_settings, file_secret_settings
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))


def read_settings(path: Path | None = None, **overrides: Any) -> Settings:
    """Read the configuration.

    Args:
        path: CONFIG.toml; None reads the environment and the defaults only.
        **overrides: Settings that take precedence over all others.

    Raises:
        ConfigRefused: The file is missing, or some settings are invalid; lists all of them.
    """
    if path is not None and not path.is_file():
        raise ConfigRefused(f"{path}: no such file")

    _reject_unknown_variables()

    class FileSettings(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    try:
        return FileSettings(**overrides)
    except ValidationError as error:
        problems = [f"  {field_path(field)}: {problem}" for field, problem in field_problems(error)]
        raise ConfigRefused("\n".join([f"{path or 'configuration'}:", *problems])) from error
    except ValueError as error:  # the file is not TOML
        raise ConfigRefused(f"{path}: {error}") from error


def _reject_unknown_variables() -> None:
    """Raise ConfigRefused for misspelt settings in the environment, which pydantic-settings ignores."""
    known = {f"{_ENV_PREFIX}{name.upper()}" for name in Settings.model_fields} | _CLIENT_VARIABLES
    unknown = sorted(name for name in os.environ if name.upper().startswith(_ENV_PREFIX) and name.upper() not in known)
    if unknown:
        raise ConfigRefused(f"unknown settings in the environment: {', '.join(unknown)}; see server/README.md")
