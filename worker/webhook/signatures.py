"""Who may send events: a shared secret in a header, or a Standard-Webhooks signature."""

import hmac
from collections.abc import Mapping, Sequence

from standardwebhooks import Webhook

from docmill.worker.errors import SettingsError
from docmill.worker.settings.parts import EXAMPLE_WEBHOOK_SECRET

SHARED_HEADER = "x-webhook-secret"
SIGNATURE_HEADER = "webhook-signature"


class Verifier:
    """Checks requests in constant time. Several signing secrets are valid while rotating."""

    def __init__(self, shared_secret: str | None, signing_secrets: Sequence[str]) -> None:
        if not shared_secret and not signing_secrets:
            raise SettingsError(
                "set DOCMILL_WEBHOOK_SECRET or DOCMILL_WEBHOOK_SIGNING_SECRETS: "
                "without a secret anybody could send events"
            )
        if shared_secret == EXAMPLE_WEBHOOK_SECRET:
            raise SettingsError(
                "DOCMILL_WEBHOOK_SECRET is still the example of .env.example, which anybody can "
                "read: set it to what `openssl rand -hex 32` prints, here and in the webhook"
            )
        self._shared_secret = (shared_secret or "").encode()
        self._webhooks = [_webhook(secret) for secret in signing_secrets]

    def accepts(self, headers: Mapping[str, str], body: bytes) -> bool:
        """True for a request that carries a valid secret or signature over the raw body."""
        if SIGNATURE_HEADER in headers:
            return any(_is_signed(webhook, headers, body) for webhook in self._webhooks)
        given = headers.get(SHARED_HEADER, "")
        return bool(self._shared_secret) and hmac.compare_digest(
            given.encode("utf-8", "surrogateescape"), self._shared_secret
        )


def _webhook(secret: str) -> Webhook:
    try:
        return Webhook(secret)
    except Exception as error:
        raise SettingsError(
            "DOCMILL_WEBHOOK_SIGNING_SECRETS: a secret is not base64 after whsec_"
        ) from error


def _is_signed(webhook: Webhook, headers: Mapping[str, str], body: bytes) -> bool:
    try:
        webhook.verify(body, dict(headers), json_parse=False)
    except Exception:
        return False
    return True
