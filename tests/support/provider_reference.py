"""The tables of docs/providers.md, made from worker/providers."""

from pathlib import Path

from docmill.worker.providers.base import PRICES_OF, Provider
from docmill.worker.providers.registry import PROVIDERS
from docmill.worker.settings.parts import ProviderSettings, variables_of

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"
COMMAND = "python -m tests.support.provider_reference"
START = f"<!-- made by: {COMMAND} -->"
END = "<!-- end -->"


def tables() -> str:
    """The table of providers and their settings, and the table of known models."""
    return f"{START}\n\n{_providers()}\n\n{_models()}\n\n{END}"


def _providers() -> str:
    rows = [
        "| name | provider | settings | a request | length 1 |",
        "| --- | --- | --- | --- | --- |",
    ]
    rows += [_provider(provider) for provider in PROVIDERS.values()]
    return "\n".join(rows)


def _provider(provider: Provider) -> str:
    settings = [
        " or ".join(f"`{name}`" for name in variables_of(ProviderSettings, field))
        + ("" if variable.is_needed else " (optional)")
        for variable in provider.variables
        for field in [f"{provider.name}_{variable.name}"]
    ]
    limits = f"{provider.limits.texts:,} texts, {provider.limits.tokens:,} tokens"
    normalised = {True: "yes", False: "made so", None: "depends on the model"}
    cells = (f"`{provider.name}`", provider.title, "<br>".join(settings) or "none", limits)
    return f"| {' | '.join(cells)} | {normalised[provider.is_normalised]} |"


def _models() -> str:
    rows = [
        f"| provider | model | dimensions | others | longest text | USD a million, {PRICES_OF} |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for provider in PROVIDERS.values():
        for name, model in provider.models.items():
            shown = f"**{name}**" if name == provider.default_model else name
            others = "may be asked for" if model.resizes else ""
            price = "free" if model.usd == 0 else f"{model.usd:.2f}"
            rows.append(
                f"| `{provider.name}` | {shown} | {model.dimensions} | {others} | "
                f"{model.text_tokens:,} | {price} |"
            )
    return "\n".join(rows)


def page() -> str:
    """The page with its current tables."""
    text = PAGE.read_text()
    return text.split(START)[0] + tables() + text.split(END, 1)[1]


if __name__ == "__main__":
    PAGE.write_text(page())
