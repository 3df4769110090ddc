"""What Auth is started with."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class AuthSettings:
    """Frozen settings of Auth. Secrets stay out of its repr, hence out of logs."""

    database_url: str = field(repr=False)  #: of role supabase_auth_admin
    password: str = field(repr=False)  #: every user signs in with it
    connections: int = 4
