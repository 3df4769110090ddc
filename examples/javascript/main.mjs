// node main.mjs FILE QUESTION: uploads the file, shows its progress, and searches for the question.
// Needs SUPABASE_URL, SUPABASE_KEY (the publishable key), EMAIL, PASSWORD and BUCKET in the
// environment; with LIVE=1 it follows the job by Realtime.
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import process from "node:process";
import { createClient } from "@supabase/supabase-js";
import { describe, follow, search, upload } from "./docmill.mjs";
import { followLive } from "./realtime.mjs";

const { SUPABASE_URL, SUPABASE_KEY, EMAIL, PASSWORD, BUCKET = "documents", LIVE } = process.env;
const [file, question] = process.argv.slice(2);

// supabase-js needs a WebSocket even without Realtime, and Node has one from version 22.
const realtime = globalThis.WebSocket ? {} : { transport: (await import("ws")).default };
const client = createClient(SUPABASE_URL, SUPABASE_KEY, { realtime });
const { data, error } = await client.auth.signInWithPassword({ email: EMAIL, password: PASSWORD });
if (error) throw error;

// The folder that the bucket's policies let this user write to.
const path = `${data.user.id}/${basename(file)}`;
const uploaded = await upload(client, BUCKET, path, await readFile(file));
for await (const job of (LIVE ? followLive : follow)(client, uploaded)) {
  console.log(await describe(client, job));
}

for (const hit of await search(client, question)) {
  const page = hit.page_start ? `, page ${hit.page_start}` : "";
  console.log(`\n${hit.score.toFixed(2)} ${hit.title ?? basename(hit.object_name)}${page}`);
  console.log([...hit.headings, hit.content].join("\n"));
}
await client.auth.signOut();
process.exit(); // supabase-js would keep Realtime's socket open for another minute
