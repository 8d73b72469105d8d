"""The server's configuration, which is checked when it is read and never changes afterwards.

The environment takes precedence over CONFIG.toml, and CONFIG.toml over the defaults.
"""

import ipaddress
import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from grounds_record.errors import KeyMalformed
from grounds_record.note import is_key_name, parse_verifier_key
from models.field_problems import field_path, field_problems
from server.errors import ConfigRefused
from server.key_location import KeyLocation, Pkcs11Uri

_ENV_PREFIX = "GROUNDS_"
# The command-line client reads these variables, so they are not misspelt settings of the server.
_CLIENT_VARIABLES = {f"GROUNDS_{name}" for name in ("ADDRESS", "CA", "CERTIFICATE", "KEY", "TOKEN_FILE")}
# Kubernetes sets these variables in every container if a Service is named `grounds`, or if its name begins with
# `grounds-`. They describe the address of the Service, so they are not settings.
_ADDRESS = r"(\d{1,3}(\.\d{1,3}){3}|[0-9a-f:.]*:[0-9a-f:.]*)"
_URL = rf"(tcp|udp|sctp)://({_ADDRESS}|\[{_ADDRESS}\]):\d{{1,5}}"
_SERVICE = r"GROUNDS(_[A-Z0-9_]+)?"
_SERVICE_VARIABLES = tuple(
    (re.compile(rf"{_SERVICE}_{name}"), re.compile(value))
    for name, value in (
        ("SERVICE_HOST", _ADDRESS),
        (r"SERVICE_PORT(_[A-Z0-9_]+)?", r"\d{1,5}"),
        ("PORT", _URL),
        (r"PORT_\d{1,5}_(TCP|UDP|SCTP)", _URL),
        (r"PORT_\d{1,5}_(TCP|UDP|SCTP)_PROTO", "(tcp|udp|sctp)"),
        (r"PORT_\d{1,5}_(TCP|UDP|SCTP)_PORT", r"\d{1,5}"),
        (r"PORT_\d{1,5}_(TCP|UDP|SCTP)_ADDR", _ADDRESS),
    )
)
_PORT_MAX = 65535
_DATABASE_SCHEMES = ("sqlite://", "postgresql://", "postgresql+psycopg://")


class Settings(BaseSettings):
    """The settings, each read from the environment variable GROUNDS_<NAME> or from CONFIG.toml.

    "Trusted" means that the server uses the content without verifying its origin. Anybody who can change trusted
    content decides what the server answers.

    Attributes:
        host: Address to listen on. Must be a loopback address unless the server uses TLS.
        port: TCP port. 0 selects a free port, which the application log reports.
        bundles: Folder of the bundle catalog. Its ACTIVE.toml files are trusted. The bundles are not trusted: each
            bundle is verified against its manifest, and a bundle that is not active runs in a process with limits.
        bundle_keys: Public keys of which one must have signed each bundle that serves; each is a key, or a file that
            contains it. With an empty list, bundles are not verified, which is accepted only on a loopback address.
        four_eyes: True if a bundle or a policy is activated, and a bundle retired, only after a second person has approved
            it. The operators' accounts on the machine must differ.
        policy: File of the credit policy that is in force until a policy is activated. Trusted.
        retention: File of the retention table that `retain` applies. Trusted.
        database: SQLAlchemy URL of the database, SQLite or PostgreSQL. Trusted.
        keys: SQLAlchemy URL of the key database, which contains the customers' keys. A backup must never contain both
            databases.
        master_key: File, or PKCS#11 URI, of the key that encrypts the customers' keys. The first start creates it.
        signing_key: File, or PKCS#11 URI, of the key that signs checkpoints. The first start creates it.
        high_water_mark: File with the newest committed checkpoint. A backup of the database must never contain this
            file. None uses the path of the signing key with the suffix .mark.
        erasure_list: File that lists which customers were erased. A backup of the databases must never contain this
            file. None uses the path of the signing key with the suffix .erased.
        log_origin: Permanent and unique name of the record log.
        anchor_folder: Folder to which each checkpoint is written as a file. None writes no files.
        anchor_command: Command that receives each checkpoint on its standard input. None runs no command.
        anchor_seconds: Interval in seconds at which a new checkpoint is anchored.
        request_bytes_max: Largest size of a request in bytes. A larger request is rejected with RESOURCE_EXHAUSTED.
        requests_in_flight_max: Largest number of CreditService calls, except batches, that are handled at the same
            time, and also of ModelService calls. A further call is rejected immediately with RESOURCE_EXHAUSTED.
        batches_in_flight_max: The same limit for BatchScoreCredit.
        crm_requests_in_flight_max: The same limit for ChurnService calls, except exports.
        exports_in_flight_max: The same limit for exports of ChurnService.
        audit_requests_in_flight_max: The same limit for AuditService calls.
        held_streams_max: The same limit for health watches, and also for reflection streams.
        calls_per_second_max: Number of calls per second that each caller may send in each class of calls. None allows
            any number.
        calls_burst_max: Number of calls that a caller may send at the same moment after a pause, if
            `calls_per_second_max` is set.
        request_seconds_max: Time limit in seconds within which the request of a call must arrive.
        answer_seconds_max: Time limit in seconds within which a caller must read each part of a streamed answer.
        metadata_bytes_max: Largest size of a request's metadata in bytes. gRPC counts the names and values of all
            entries, and 32 bytes more for each entry.
        ping_seconds_min: Callers may send one keepalive ping in this time, in seconds. A caller that sends pings faster
            is disconnected.
        keepalive_seconds: Time without traffic, in seconds, after which the server checks by a ping whether a caller
            is still there.
        connection_age_seconds_max: Age in seconds at which the server asks callers to connect again, so that they
            spread over several servers. None keeps connections.
        connection_grace_seconds: Time in seconds that calls in progress have to end on a connection that has reached
            this age.
        store_threads: Number of threads that wait for the database on behalf of CreditService. A second pool of the
            same size serves ChurnService and AuditService. Each thread uses one connection to each of the two
            databases.
        drain_seconds_max: Time limit in seconds for draining the server after SIGTERM, before the server stops.
        reload_seconds: Interval in seconds at which ACTIVE.toml, the bundles and the activated policy are read again.
        churn_runs_kept: Number of newest runs that each market and family keeps when another run is loaded.
        churn_token_days: Number of days for which page and delta tokens of the churn feed are valid. The run of a token
            is kept for the same time.
        metrics_address: Address of the HTTP endpoint for probes and metrics: HOST:PORT, or PORT for 127.0.0.1, or
            unix:PATH. None opens no endpoint.
        log_level: The application log contains lines of this level and above.
        slow_call_seconds: Duration in seconds from which a call is logged as a warning.
        reflection: True if the server offers the gRPC reflection service.
        tls_certificate: PEM file with the server's certificate. None means that the server does not use TLS. New
            connections use the newest content of this file, of `tls_key` and of `tls_client_ca`.
        tls_key: PEM file with the private key of `tls_certificate`.
        tls_client_ca: PEM file with the certificates that sign client certificates. A client is identified by the
            SPIFFE id of its certificate. None means that callers are not identified by certificates. Trusted.
        authority: File that states what each caller may do. None means that callers are not identified, and every
            caller may do everything. Trusted.
        jwt_keys: File, or address that begins with https://, of the JSON web key set that signs bearer tokens. None
            means that callers are not identified by tokens. Trusted.
        jwt_issuer: Required issuer of a token.
        jwt_audience: Required audience of a token.
    """

    model_config = SettingsConfigDict(env_prefix=_ENV_PREFIX, extra="forbid", frozen=True)

    tls_certificate: Path | None = None  # validated first, because the rule for `host` depends on it
    host: str = "127.0.0.1"
    port: int = Field(default=50051, ge=0, le=_PORT_MAX)
    bundles: Path = Path("models/bundles")
    bundle_keys: tuple[str, ...] = ()
    four_eyes: bool = False
    policy: Path = Path(__file__).parent / "policy.toml"
    retention: Path = Path(__file__).parent / "retention.toml"
    database: str = "sqlite:///grounds.db"
    keys: str = "sqlite:///grounds-keys.db"
    master_key: KeyLocation = Path("grounds-master.key")
    signing_key: KeyLocation = Path("grounds-signing.key")
    high_water_mark: Path | None = None
    erasure_list: Path | None = None
    log_origin: str = "grounds.local/log"
    anchor_folder: Path | None = None
    anchor_command: str | None = None
    anchor_seconds: float = Field(default=60.0, gt=0)
    request_bytes_max: int = Field(default=256 * 1024, ge=1024)
    requests_in_flight_max: int = Field(default=256, ge=1)
    batches_in_flight_max: int = Field(default=4, ge=1)
    crm_requests_in_flight_max: int = Field(default=64, ge=1)
    exports_in_flight_max: int = Field(default=8, ge=1)
    audit_requests_in_flight_max: int = Field(default=32, ge=1)
    held_streams_max: int = Field(default=64, ge=1)
    calls_per_second_max: float | None = Field(default=None, gt=0)
    calls_burst_max: int = Field(default=100, ge=1)
    request_seconds_max: float = Field(default=10.0, gt=0)
    answer_seconds_max: float = Field(default=60.0, gt=0)
    metadata_bytes_max: int = Field(default=16 * 1024, ge=8 * 1024)
    ping_seconds_min: float = Field(default=10.0, gt=0)
    keepalive_seconds: float = Field(default=60.0, gt=0)
    connection_age_seconds_max: float | None = Field(default=None, gt=0)
    connection_grace_seconds: float = Field(default=30.0, gt=0)
    store_threads: int = Field(default=4, ge=1, le=64)
    drain_seconds_max: float = Field(default=10.0, ge=0)
    reload_seconds: float = Field(default=1.0, gt=0)
    churn_runs_kept: int = Field(default=3, ge=2)
    churn_token_days: float = Field(default=7.0, ge=0.1)
    metrics_address: str | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    slow_call_seconds: float = Field(default=1.0, gt=0)
    reflection: bool = True
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    authority: Path | None = None
    jwt_keys: str | None = None
    jwt_issuer: str = ""
    jwt_audience: str = ""

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str, info: ValidationInfo) -> str:
        """Reject text that is not an IP address, and an address that other machines can reach without TLS."""
        try:
            is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError as error:
            raise ValueError("must be an IP address, such as 127.0.0.1 or 0.0.0.0, or localhost") from error
        if not is_loopback and info.data.get("tls_certificate") is None:
            raise ValueError(
                "must be a loopback address, such as 127.0.0.1, unless tls_certificate and tls_key are set"
            )
        return host

    @property
    def is_loopback(self) -> bool:
        """Return whether only this machine can connect."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback

    @model_validator(mode="after")
    def _check_identity(self) -> "Settings":
        """Reject combinations of settings that would admit unidentified callers or contain a setting without effect."""
        rules: list[tuple[bool, str]] = [
            (
                (self.tls_certificate is None) == (self.tls_key is None),
                "tls_certificate and tls_key: set both or neither",
            ),
            (
                self.tls_client_ca is None or self.tls_certificate is not None,
                "tls_client_ca: requires tls_certificate and tls_key",
            ),
            (
                self.tls_certificate is None or self.authority is not None,
                "authority: required with TLS; it states what each caller may do",
            ),
            (
                self.authority is None or self.tls_client_ca is not None or self.jwt_keys is not None,
                "authority: requires tls_client_ca or jwt_keys, which identify the callers",
            ),
            (
                self.tls_client_ca is None or self.jwt_keys is None,
                "jwt_keys: cannot be combined with tls_client_ca; choose certificates or tokens",
            ),
            (
                self.jwt_keys is None or bool(self.jwt_issuer and self.jwt_audience and self.authority),
                "jwt_keys: requires jwt_issuer, jwt_audience and authority",
            ),
            (
                self.jwt_keys is None or "://" not in self.jwt_keys or self.jwt_keys.startswith("https://"),
                "jwt_keys: must be a file or an address that begins with https://",
            ),
        ]
        rules.append(
            (
                self.is_loopback or bool(self.bundle_keys),
                "bundle_keys: required unless host is a loopback address; `grounds-train sign` signs bundles and prints the key",
            )
        )
        if isinstance(self.signing_key, Pkcs11Uri):
            rules += (
                (path is not None, f"{name}: required, because signing_key is not a file beside which it could be")
                for name, path in (("high_water_mark", self.high_water_mark), ("erasure_list", self.erasure_list))
            )
        problems = [problem for holds, problem in rules if not holds]
        if problems:
            raise ValueError("\n  ".join(problems))
        return self

    @field_validator("bundle_keys")
    @classmethod
    def _read_bundle_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        """Replace the names of files by the keys that they contain, and reject malformed keys."""
        found = []
        for key in keys:
            try:
                text = Path(key).read_text(encoding="ascii").strip() if Path(key).is_file() else key
                found.append(parse_verifier_key(text).text())
            except (OSError, UnicodeDecodeError, KeyMalformed) as error:
                raise ValueError(
                    f"must be a public key or a file that contains one, as `grounds-train sign` prints it: {error}"
                ) from error
        return tuple(found)

    @field_validator("database", "keys")
    @classmethod
    def _check_database_url(cls, url: str) -> str:
        """Reject an unsupported URL. The message does not repeat the URL, because a URL may contain a password."""
        if not url.startswith(_DATABASE_SCHEMES):
            raise ValueError(f"must begin with {' or '.join(_DATABASE_SCHEMES)}, such as sqlite:////var/lib/grounds.db")
        return url

    @field_validator("metrics_address")
    @classmethod
    def _check_metrics_address(cls, address: str | None) -> str | None:
        """Reject text that is not an address."""
        if address is not None and not address.startswith("unix:/"):
            parse_listen_address(address)
        return address

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
        """Return the sources by precedence: arguments, environment, file. Read no .env file and no secrets folder."""
        del dotenv_settings, file_secret_settings
        if isinstance(env_settings, EnvSettingsSource):
            env_settings.env_vars = {
                name: value
                for name, value in env_settings.env_vars.items()
                if not _is_service_variable(name.upper(), value or "")
            }
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))


def read_settings(path: Path | None = None, **overrides: Any) -> Settings:
    """Read the configuration.

    Args:
        path: Path of CONFIG.toml. None reads only the environment and the defaults.
        **overrides: Settings by name, which take precedence over every other source.

    Raises:
        ConfigRefused: The file is missing, or settings are unknown or invalid. The message lists them.
    """
    if path is not None and not path.is_file():
        raise ConfigRefused(f"{path}: no such file; check the path of the configuration")

    _reject_unknown_variables()

    class FileSettings(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    try:
        return FileSettings(**overrides)
    except ValidationError as error:
        problems = [
            f"  {field_path(field)}: {problem}" if field else f"  {problem}" for field, problem in field_problems(error)
        ]
        raise ConfigRefused("\n".join([f"{path or 'configuration'}:", *problems])) from error
    except ValueError as error:  # the file is not TOML
        raise ConfigRefused(f"{path}: {error}") from error


def parse_listen_address(address: str) -> tuple[str, int]:
    """Return the host and the port of HOST:PORT, [IPV6]:PORT or PORT. The host of PORT is 127.0.0.1.

    Raises:
        ValueError: The text is not such an address.
    """
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    host = "127.0.0.1" if host in {"", "localhost"} and address[:1] != ":" else host
    try:
        ipaddress.ip_address(host)
        if not port.isdecimal() or int(port) > _PORT_MAX:
            raise ValueError  # noqa: TRY301 - one message for every problem of the text
    except ValueError as error:
        raise ValueError(
            "must be a port such as 9464, an IP address and a port such as 0.0.0.0:9464, or unix: and an absolute path"
        ) from error
    return host, int(port)


def _is_service_variable(name: str, value: str) -> bool:
    """Return whether Kubernetes set an environment variable to describe a Service. The name is in uppercase letters."""
    return any(names.fullmatch(name) and values.fullmatch(value) for names, values in _SERVICE_VARIABLES)


def _reject_unknown_variables() -> None:
    """Raise ConfigRefused for an unknown GROUNDS_ variable, because pydantic-settings ignores misspelt names."""
    known = {f"{_ENV_PREFIX}{name.upper()}" for name in Settings.model_fields} | _CLIENT_VARIABLES
    unknown = sorted(
        name
        for name, value in os.environ.items()
        if name.upper().startswith(_ENV_PREFIX)
        and name.upper() not in known
        and not _is_service_variable(name.upper(), value)
    )
    if unknown:
        raise ConfigRefused(
            f"unknown settings in the environment: {', '.join(unknown)}; correct or unset them; server/README.md lists every setting"
        )
