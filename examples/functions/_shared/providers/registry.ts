// All providers. To add one, write a file next to this one and add an entry here.

import { Refusal } from "../http.ts";
import { azure } from "./azure.ts";
import { cohere } from "./cohere.ts";
import type { Access, Provider } from "./form.ts";
import { gemini } from "./gemini.ts";
import { compatible, openai } from "./openai.ts";
import { voyage } from "./voyage.ts";

const PROVIDERS: Record<string, Provider> = { openai, azure, compatible, voyage, cohere, gemini };

/** A provider and how to reach it, as for workers: by its own secrets, or by its name. */
export function reached(name: string): { provider: Provider; access: Access } {
  const named = namedProviders();
  if (Object.hasOwn(named, name)) {
    const { form = "compatible", ...said } = named[name] ?? {};
    const provider = Object.hasOwn(PROVIDERS, form) ? PROVIDERS[form] : undefined;
    if (!provider) throw unset(`the secret DOCMILL_PROVIDERS has no known form for ${name}`);
    const access: Access = { ...fallbacks(provider), ...said };
    const missing = Object.keys(provider.variables).find((one) => typeof access[one] !== "string");
    if (missing) throw unset(`the secret DOCMILL_PROVIDERS has no ${missing} for ${name}`);
    return { provider, access };
  }
  // The local model of workers is not here: a server with it answers in OpenAI's form.
  const known = name === "local" ? "openai" : name;
  if (!Object.hasOwn(PROVIDERS, known)) {
    throw unset(`the secret DOCMILL_PROVIDERS does not name ${name}`);
  }
  const provider = PROVIDERS[known];
  return { provider, access: { ...fallbacks(provider), ...secrets(provider) } };
}

function fallbacks(provider: Provider): Access {
  const found = Object.entries(provider.variables)
    .flatMap(([name, { fallback }]) => fallback === undefined ? [] : [[name, fallback]]);
  return Object.fromEntries(found);
}

function secrets(provider: Provider): Access {
  const access: Access = {};
  for (const [name, { names, fallback }] of Object.entries(provider.variables)) {
    const value = names.map((one) => Deno.env.get(one)).find((one) => one);
    if (value) access[name] = value;
    else if (fallback === undefined) throw unset(`the secret ${names.at(-1)} is not set`);
  }
  return access;
}

function namedProviders(): Record<string, Access> {
  try {
    return JSON.parse(Deno.env.get("DOCMILL_PROVIDERS") || "{}") ?? {};
  } catch {
    throw unset("the secret DOCMILL_PROVIDERS is not JSON");
  }
}

function unset(text: string): Refusal {
  return new Refusal(503, text, "not_configured");
}
