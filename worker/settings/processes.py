"""The settings that each process reads, and no more."""

from typing import Self

from pydantic import model_validator

from docmill.worker.settings import parts


class WorkerSettings(
    parts.DatabaseSettings,
    parts.RedisSettings,
    parts.ProjectSettings,
    parts.StorageSettings,
    parts.EmbedderSettings,
    parts.BulkSettings,
    parts.DocumentSettings,
    parts.ExtractionSettings,
    parts.RunSettings,
    parts.HintSettings,
    parts.HealthSettings,
    parts.MetricsSettings,
    parts.CronSettings,
    parts.RetentionSettings,
    parts.LogSettings,
):
    """`docmill worker`."""

    @model_validator(mode="after")
    def _spool_holds_a_document(self) -> Self:
        if self.spool_bytes < self.max_document_bytes:
            raise ValueError(
                "DOCMILL_SPOOL_BYTES must hold a document of DOCMILL_MAX_DOCUMENT_BYTES"
            )
        return self

    @model_validator(mode="after")
    def _starved_after_a_hint_is_sent_again(self) -> Self:
        # Otherwise a single lost hint would end this worker, then the next one, and so on.
        if self.starved_seconds <= self.resend_seconds:
            raise ValueError("DOCMILL_STARVED_SECONDS must be above DOCMILL_RESEND_SECONDS")
        return self


class WebhookSettings(
    parts.DatabaseSettings,
    parts.RedisSettings,
    parts.ReceiverSettings,
    parts.HintSettings,
    parts.MetricsSettings,
    parts.LogSettings,
):
    """`docmill webhook`."""


class BeatSettings(
    parts.RedisSettings,
    parts.ScheduleSettings,
    parts.HealthSettings,
    parts.MetricsSettings,
    parts.LogSettings,
):
    """`docmill beat`."""


class FlowerSettings(parts.RedisSettings, parts.DashboardSettings, parts.LogSettings):
    """`docmill flower`."""


class McpSettings(parts.ProjectSettings, parts.McpSettings, parts.LogSettings):
    """`docmill mcp`: no database URL and no secret key."""


class Settings(
    WorkerSettings,
    WebhookSettings,
    BeatSettings,
    FlowerSettings,
    parts.ChatSettings,
    McpSettings,
    parts.AdminSettings,
):
    """All settings: for commands that an operator runs. Only these have the admin URL."""


#: The parts in the order in which docs list them.
PARTS: tuple[type[parts.SettingsPart], ...] = (
    parts.DatabaseSettings,
    parts.AdminSettings,
    parts.RedisSettings,
    parts.ProjectSettings,
    parts.StorageSettings,
    parts.ReceiverSettings,
    parts.DashboardSettings,
    parts.McpSettings,
    parts.ProviderSettings,
    parts.EmbedderSettings,
    parts.BulkSettings,
    parts.ChatSettings,
    parts.DocumentSettings,
    parts.ExtractionSettings,
    parts.RunSettings,
    parts.HintSettings,
    parts.HealthSettings,
    parts.MetricsSettings,
    parts.ScheduleSettings,
    parts.CronSettings,
    parts.RetentionSettings,
    parts.LogSettings,
)

#: The settings of each process, by the name of its command.
PROCESSES: dict[str, type[parts.SettingsPart]] = {
    "worker": WorkerSettings,
    "webhook": WebhookSettings,
    "beat": BeatSettings,
    "flower": FlowerSettings,
    "mcp": McpSettings,
}
