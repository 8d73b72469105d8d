"""The server's configuration: environment over file over defaults, checked once, never changed."""

import ipaddress
import os
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from grounds_record.note import is_key_name

PREFIX = "GROUNDS_"
OF_OTHERS = {"GROUNDS_ADDRESS"}  # the client's
DATABASES = ("sqlite://", "postgresql://", "postgresql+psycopg://")


class ConfigRefused(Exception):
    """The configuration says something that cannot be right."""


class Settings(BaseSettings):
    """Everything that an operator can set, in CONFIG.toml or as GROUNDS_<NAME> in the environment.

    Attributes:
        host: Address to listen on. Loopback only: the server does not authenticate its callers.
        port: 0 takes a free port, which the log names.
        bundles: The catalog of bundles and ACTIVE.toml files. Trusted to name what serves; the bundles
            themselves are checked byte by byte.
        policy: The policy file. Trusted.
        retention: The retention table, which `retain` applies. Trusted.
        database: SQLAlchemy URL, SQLite or PostgreSQL.
        keys: SQLAlchemy URL of the customers' keys: another database, in no backup of the log.
        master_key: The file of the key that wraps them; made at the first start.
        signing_key: The file of the key that signs checkpoints; made at the first start.
        log_origin: The log's name for its whole life, and no other log's.
        anchor_folder: Where checkpoints are written, a file each; None: nowhere.
        anchor_command: What is run with each checkpoint on its standard input; None: nothing.
        anchor_seconds: How often a checkpoint is pushed, if there is a new one.
        request_bytes_max: Larger requests are refused with REQUEST_TOO_LARGE; above four times as much by gRPC itself.
        requests_in_flight_max: Beyond it gRPC answers RESOURCE_EXHAUSTED at once.
        store_threads: Threads that wait for the database for the loan desk, and as many for the CRM and auditors
            together. Each takes a connection to the database, and one to that of the keys.
        drain_seconds_max: After SIGTERM, calls under way get this long.
        reload_seconds: How often ACTIVE.toml and the bundles are looked at.
        churn_runs_kept: The newest so many runs of each market stay when another is loaded.
        churn_token_days: Page and delta tokens of the churn feed are honoured so long; so long the run that
            they are of stays, too.
        reflection: Whether the standard reflection service answers.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=50051, ge=0, le=65535)
    bundles: Path = Path("models/bundles")
    policy: Path = Path(__file__).parent / "policy.toml"
    retention: Path = Path(__file__).parent / "retention.toml"
    database: str = "sqlite:///grounds.db"
    keys: str = "sqlite:///grounds-keys.db"
    master_key: Path = Path("grounds-master.key")
    signing_key: Path = Path("grounds-signing.key")
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
    def loopback_only(cls, host: str) -> str:
        """Refuse an address that others can reach."""
        if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            raise ValueError("must be a loopback address, such as 127.0.0.1: callers are not authenticated")
        return host

    @field_validator("database", "keys")
    @classmethod
    def url_of_a_database(cls, url: str) -> str:
        """Refuse what is no URL of a database that is served; the URL is not repeated, it may hold a password."""
        if not url.startswith(DATABASES):
            raise ValueError(f"must begin with {' or '.join(DATABASES)}, such as sqlite:////var/lib/grounds.db")
        return url

    @field_validator("log_origin")
    @classmethod
    def name_of_a_key(cls, origin: str) -> str:
        """Refuse what cannot be the name of a log and its key."""
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
        """Read the environment first, then the file; no .env and no secrets folder."""
        del dotenv_settings, file_secret_settings
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))


def refuse_unknown_names() -> None:
    """Refuse a misspelt setting in the environment, which pydantic-settings does not look at.

    Raises:
        ConfigRefused: Names every such variable.
    """
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | OF_OTHERS
    unknown = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)
    if unknown:
        raise ConfigRefused(f"the environment sets {', '.join(unknown)}, which are no settings; see server/README.md")


def read_settings(path: Path | None = None, **given: Any) -> Settings:
    """Read the configuration.

    Args:
        path: CONFIG.toml; None means environment and defaults alone.
        **given: Settings that stand above all others.

    Raises:
        ConfigRefused: The file is not there, or something in it cannot be right; lists everything.
    """
    if path is not None and not path.is_file():
        raise ConfigRefused(f"{path}: there is no such file")

    refuse_unknown_names()

    class SettingsOfFile(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    try:
        return SettingsOfFile(**given)
    except ValidationError as error:
        problems = [f"  {'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()]
        raise ConfigRefused("\n".join([f"{path or 'configuration'}:", *problems])) from error
    except ValueError as error:  # the file is not TOML
        raise ConfigRefused(f"{path}: {error}") from error
