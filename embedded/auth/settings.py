"""The settings of Auth."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class AuthSettings:
    """Frozen settings of Auth. Secrets are left out of its repr, and so out of logs."""

    database_url: str = field(repr=False)  #: for the role supabase_auth_admin
    password: str = field(repr=False)  #: the one password of all users
    connections: int = 4
