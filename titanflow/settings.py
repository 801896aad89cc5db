"""The only reader of the environment. Values are frozen; a bad one stops the start with one line.

Names and defaults: the table in README.md. Secrets have no default.
"""

import re
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from titanflow.errors import ConfigurationError

_COMMON_PINS = {"123456", "654321", "111111", "000000", "password", "123123", "12345678", "qwerty", "admin1"}

Secrets = Annotated[tuple[SecretStr, ...], NoDecode]


class Settings(BaseSettings):
    """What the environment says. Units are in the names; secrets never show in a repr."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    database_url: SecretStr | None = None
    database_host: str | None = None
    database_port: int = 5432
    database_user: str = "titanflow"
    database_password: SecretStr | None = None
    database_name: str = "titanflow"
    redis_url: SecretStr | None = None
    redis_host: str | None = None
    redis_port: int = 6379
    redis_password: SecretStr | None = None
    admin_pin: SecretStr | None = None
    secret_key: Secrets = ()
    meta_graph_url: str = "https://graph.facebook.com"
    meta_api_version: str = "v25.0"
    meta_app_secret: Secrets = ()
    meta_verify_token: SecretStr | None = None
    pool_size: int = Field(default=40, ge=2, le=500)
    pipeline_concurrency: int = Field(default=200, ge=1, le=5000)
    web_concurrency: int = Field(default=1, ge=1, le=64)
    bind: str = "127.0.0.1:8000"
    data_dir: Path = Path(".data")
    webhook_retention_days: int = Field(default=15, ge=0, le=3650)
    api_requests_per_second: int = Field(default=50, ge=0, le=100_000)
    forwarded_allow_ips: str = "127.0.0.1,::1"
    log_format: Literal["console", "json"] = "console"
    log_phones: Literal["masked", "full"] = "masked"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("secret_key", "meta_app_secret", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part for part in (piece.strip() for piece in value.split(",")) if part)
        return value

    @field_validator("log_format", "log_level", "log_phones", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(secret.get_secret_value()) < 16 for secret in value):
            raise ValueError("each key needs at least 16 characters")
        return value

    @field_validator("admin_pin")
    @classmethod
    def _no_common_pin(cls, value: SecretStr | None) -> SecretStr | None:
        pin = value.get_secret_value() if value else ""
        if value is not None and (len(pin) < 6 or pin.lower() in _COMMON_PINS or len(set(pin)) == 1):
            raise ValueError("it needs at least 6 characters and must not be a common one")
        return value

    @field_validator("meta_graph_url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        if not re.match(r"https?://[^/\s]+", value):
            raise ValueError("it must start with http:// or https://")
        return value.rstrip("/")

    @field_validator("meta_api_version")
    @classmethod
    def _version(cls, value: str) -> str:
        if not re.fullmatch(r"v\d+\.\d+", value):
            raise ValueError("it must look like v25.0")
        return value

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _networks(cls, value: str) -> str:
        try:
            _networks_of(value)
        except ValueError as error:
            raise ValueError(f"{error}; it must look like 10.0.0.0/8,192.168.1.5") from None
        return value

    @field_validator("bind")
    @classmethod
    def _bind(cls, value: str) -> str:
        port = value.rpartition(":")[2]
        if ":" not in value or not port.isdigit() or int(port) > 65535:
            raise ValueError("it must look like 127.0.0.1:8000")
        return value

    @field_validator("database_url")
    @classmethod
    def _postgres_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not re.match(r"postgres(ql)?://", value.get_secret_value()):
            raise ValueError("it must look like postgresql://user:password@host:5432/name")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not re.match(r"(rediss?|unix)://", value.get_secret_value()):
            raise ValueError("it must look like redis://:password@host:6379/0")
        return value

    @cached_property
    def trusted_proxies(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Whose X-Forwarded-For and X-Forwarded-Proto are believed."""
        return _networks_of(self.forwarded_allow_ips)

    @cached_property
    def trusts_every_peer(self) -> bool:
        """True if whoever connects is a proxy."""
        return "*" in self.forwarded_allow_ips

    @cached_property
    def database(self) -> str | None:
        """The URL of PostgreSQL, from DATABASE_URL or from DATABASE_HOST and its kind; None if neither is set."""
        if self.database_url:
            return self.database_url.get_secret_value()
        if not self.database_host:
            return None
        password = quote(self.database_password.get_secret_value(), safe="") if self.database_password else ""
        login = f"{quote(self.database_user, safe='')}:{password}" if password else quote(self.database_user, safe="")
        return f"postgresql://{login}@{self.database_host}:{self.database_port}/{quote(self.database_name)}"

    @cached_property
    def redis(self) -> str | None:
        """The URL of Redis, from REDIS_URL or from REDIS_HOST and its kind; None if neither is set."""
        if self.redis_url:
            return self.redis_url.get_secret_value()
        if not self.redis_host:
            return None
        password = quote(self.redis_password.get_secret_value(), safe="") if self.redis_password else ""
        return f"redis://{':' + password + '@' if password else ''}{self.redis_host}:{self.redis_port}/0"

    def require_database(self) -> str:
        """Return the URL of PostgreSQL. Raises ConfigurationError if nobody set one."""
        if self.database is None:
            raise _missing("DATABASE_URL", "PostgreSQL holds the truth", "Set it, or use `titanflow serve --embedded`.")
        return self.database

    def require_redis(self) -> str:
        """Return the URL of Redis. Raises ConfigurationError if nobody set one."""
        if self.redis is None:
            raise _missing("REDIS_URL", "the server needs Redis", "Set it, or use `titanflow serve --embedded`.")
        return self.redis

    def require_secret_keys(self) -> tuple[str, ...]:
        """Return the keys that encrypt access tokens, newest first. Raises ConfigurationError if there is none."""
        if not self.secret_key:
            raise _missing(
                "SECRET_KEY",
                "it encrypts access tokens",
                "Set it to a random text of at least 16 characters, e.g. from `openssl rand -hex 32`.",
            )
        return tuple(secret.get_secret_value() for secret in self.secret_key)

    def require_server(self) -> None:
        """Check that all a server needs is set. Raises ConfigurationError that names the first missing one."""
        self.require_database()
        self.require_redis()
        self.require_secret_keys()
        if not self.meta_app_secret:
            raise _missing(
                "META_APP_SECRET",
                "without it nobody can tell Meta's webhooks from forged ones",
                "Copy it from your Meta app, App settings > Basic.",
            )
        if self.meta_verify_token is None:
            raise _missing(
                "META_VERIFY_TOKEN",
                "Meta sends it when you register the webhook",
                "Choose any random text and enter the same one at Meta.",
            )
        if self.admin_pin is None:
            raise _missing("ADMIN_PIN", "it guards the web pages", "Set it to at least 6 characters of your choice.")

    def secrets(self) -> tuple[str, ...]:
        """All secrets that the environment holds: what no log may ever show."""
        values = [getattr(self, name) for name in type(self).model_fields]
        secrets = [one for value in values for one in (value if isinstance(value, tuple) else [value])]
        plain = [one.get_secret_value() for one in secrets if isinstance(one, SecretStr)]
        passwords = [unquote(urlsplit(one).password or "") for one in plain if "://" in one]
        return tuple(filter(None, [*plain, *passwords]))

    def app_secrets(self) -> tuple[bytes, ...]:
        """The secrets Meta may have signed a webhook with: several while one is being rotated."""
        return tuple(secret.get_secret_value().encode() for secret in self.meta_app_secret)


def load() -> Settings:
    """Read the environment. Raises ConfigurationError: one line that names the variable and what to set."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = "_".join(str(part) for part in first["loc"][:1]).upper()
        message = str(first["msg"]).removeprefix("Value error, ")
        raise ConfigurationError(f"{name} can't be used", why=message, fix=f"Set {name} anew.") from None


def _networks_of(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip() not in ("", "*"))


def _missing(name: str, why: str, fix: str) -> ConfigurationError:
    return ConfigurationError(f"{name} is not set", why=why, fix=fix)
