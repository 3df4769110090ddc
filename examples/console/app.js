// A page that uses docmill like any client: upload to Storage, poll ingest.documents and
// ingest.jobs, search with match_chunks, ask with the function `ask`. Row-level security decides
// what it may see and do. Texts of documents and answers are shown as text, never as HTML.

const POLL_MS = 500;          // while a document is in work
const LONGEST_POLL_MS = 5000; // while nothing changes
const SHOWN = 100;            // documents, newest first
const HITS = 6;
const URL_SECONDS = 60;       // validity of the link that opens a document

const $ = (id) => document.getElementById(id);

const config = await (await fetch("config.json")).json();
const client = supabase.createClient(config.url, config.publishable_key);
const ingest = client.schema("ingest");

let user = null;
let poll = null;              // timer of the next poll
let pause = POLL_MS;

// ---------------------------------------------------------------- user

client.auth.onAuthStateChange((_event, session) => {
  // Do not await here: supabase-js holds a lock while it calls this.
  setTimeout(() => show(session?.user ?? null), 0);
});

function show(next) {
  if (next?.id === user?.id && !$("welcome").hidden === !next) return;
  user = next;
  $("welcome").hidden = Boolean(user);
  $("workspace").hidden = $("account").hidden = !user;
  $("who").textContent = user?.email ?? "";
  clearTimeout(poll);
  $("documents").replaceChildren();
  $("hits").replaceChildren();
  beginAnew();
  $("search-status").textContent = $("documents-status").textContent = "";
  if (user) refresh();
  else $("sign-in").elements.email.focus();
}

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { email, password } = event.target.elements;
  const { error } = await client.auth.signInWithPassword(
    { email: email.value, password: password.value });
  tell(error);
  if (!error) event.target.reset();
});

$("sign-out").addEventListener("click", () => client.auth.signOut());

if (config.hint) {
  $("demo-hint").textContent = config.hint;
  $("demo-hint").hidden = false;
}

// ---------------------------------------------------------------- uploads

$("files").addEventListener("change", async (event) => {
  await upload([...event.target.files]);
  event.target.value = "";
});

for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  $("drop").addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", over);
    if (name === "drop") upload([...event.dataTransfer.files]);
  });
}

async function upload(files) {
  const failed = [];
  for (const [number, file] of files.entries()) {
    $("documents-status").textContent = `Uploading ${number + 1} of ${files.length}: ${file.name}`;
    const { error } = await client.storage.from(config.bucket).upload(
      `${user.id}/${storageName(file.name)}`, file,
      { upsert: true, contentType: file.type || "application/octet-stream" });
    if (error) failed.push(`${file.name}: ${error.message}`);
    refresh();
  }
  $("documents-status").textContent = "";
  tell(failed.length ? { message: failed.join("; ") } : null);
}

// Storage accepts no other characters in a name.
function storageName(name) {
  return name.normalize("NFKD").replace(/\p{M}/gu, "").replace(/[^\w!.*'() &$=@;:+,?-]/g, "_");
}

// ---------------------------------------------------------------- documents

async function refresh() {
  clearTimeout(poll);
  const asked = user;
  const { data: documents, error } = await ingest.from("documents")
    .select("id,bucket_id,object_name,title,status,searchable,page_count,chunk_count,"
      + "error_code,error_message,latest_job_id")
    .order("created_at", { ascending: false }).limit(SHOWN);
  const unfinished = (documents ?? []).filter(isUnfinished);
  const { data: jobs } = unfinished.length
    ? await ingest.from("jobs").select().in("id", unfinished.map((d) => d.latest_job_id))
    : { data: [] };
  if (asked !== user) return;
  if (error) tell(error);
  else render(documents, new Map((jobs ?? []).map((job) => [job.id, job])));
  pause = unfinished.length ? POLL_MS : Math.min(2 * pause, LONGEST_POLL_MS);
  poll = setTimeout(refresh, pause);
}

const isUnfinished = ({ status }) => status === "pending" || status === "processing";

function render(documents, jobs) {
  const before = new Map([...$("documents").children].map((item) => [item.dataset.id, item]));
  const items = documents.map((d) => {
    const item = before.get(d.id) ?? makeItem(d);
    update(item, d, jobs.get(d.latest_job_id));
    return item;
  });
  // Change only items that differ, so that the focus stays where it is.
  items.forEach((item, place) => {
    if ($("documents").children[place] !== item) {
      $("documents").insertBefore(item, $("documents").children[place] ?? null);
    }
  });
  while ($("documents").children.length > items.length) $("documents").lastChild.remove();
}

function makeItem(d) {
  const item = $("document-template").content.firstElementChild.cloneNode(true);
  item.dataset.id = d.id;
  const on = (action, handler) =>
    item.querySelector(`.${action}`).addEventListener("click", () => handler(item.document));
  on("cancel", (d) => request("cancel_job", d));
  on("retry", (d) => request("retry_job", d));
  on("open", open);
  on("delete", remove);
  return item;
}

function update(item, d, job) {
  const failed = d.status === "failed";
  // The job may have ended since its document was read; then there is nothing to cancel.
  const working = isUnfinished(d) && !job?.finished_at;
  item.document = d;
  item.dataset.state = d.status;
  set(item, ".name", fileName(d));
  set(item, ".state", stateOf(d, job));
  set(item, ".detail", failed && item.explained === d.latest_job_id && item.explanation
    || detailOf(d, job));
  const bar = item.querySelector("progress");
  bar.hidden = !working;
  const done = fractionDone(job);
  // Without a value the bar shows activity, but not how much is left.
  if (done === null) bar.removeAttribute("value");
  else bar.value = done;
  bar.setAttribute("aria-label", `Progress of ${fileName(d)}`);
  item.querySelector(".cancel").hidden = !working;
  item.querySelector(".retry").hidden = !failed || UNREADABLE.has(d.error_code);
  for (const button of item.querySelectorAll("button")) {
    button.setAttribute("aria-label", `${button.textContent} ${fileName(d)}`);
  }
  if (failed && item.explained !== d.latest_job_id) explain(item, d);
}

function set(item, selector, text) {
  const element = item.querySelector(selector);
  if (element.textContent !== text) element.textContent = text;
}

const fileName = (d) => d.object_name.slice(d.object_name.lastIndexOf("/") + 1);

// Errors of the file itself: trying the same file again does not help.
const UNREADABLE = new Set(["unsupported_type", "unsupported_name", "encrypted", "corrupt",
  "empty_document", "document_too_large", "archive_too_large"]);

// The word for a part of a file with this ending.
const PARTS = [[/\.(xls[xmb]?|ods|csv)$/i, "sheet"], [/\.(pptx?|odp)$/i, "slide"]];
const partNamed = (name) => PARTS.find(([ending]) => ending.test(name))?.[1] ?? "page";

const counted = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;

function stateOf(d, job) {
  if (job?.finished_at && isUnfinished(d)) return "finishing";
  if (d.status === "processing") return job?.stage ?? "processing";
  if (d.status === "pending") return job?.hold_reason?.replaceAll("_", " ") ?? "waiting";
  return d.status === "failed" ? d.error_code.replaceAll("_", " ") : d.status;
}

function detailOf(d, job) {
  if (d.status === "failed") return d.error_message;
  if (d.status === "ready") {
    const parts = d.page_count ? `${counted(d.page_count, partNamed(d.object_name))}, ` : "";
    return parts + counted(d.chunk_count, "chunk");
  }
  const chunks = job ? job.chunks_embedded + job.chunks_reused : 0;
  if (job?.chunks_total) return `${chunks} of ${counted(job.chunks_total, "chunk")}`;
  if (job?.pages_total) return `${job.pages_done} of ${counted(job.pages_total, partNamed(d.object_name))}`;
  // Text has no pages, and its number of chunks is known only at the end.
  if (chunks) return `${counted(chunks, "chunk")} so far`;
  return job?.error_message ?? "";
}

// Reading is half of the work, embedding the other half. Null: the rest is unknown.
function fractionDone(job) {
  if (job?.state !== "running") return 0;
  if (job.chunks_total) {
    return .5 + (job.chunks_embedded + job.chunks_reused) / (2 * job.chunks_total);
  }
  return job.pages_total ? job.pages_done / (2 * job.pages_total) : null;
}

async function explain(item, d) {
  item.explained = d.latest_job_id;
  item.explanation = null;
  const { data } = await ingest.rpc("explain_job", { job_id: d.latest_job_id });
  if (item.explained !== d.latest_job_id || !data?.[0]) return;
  item.explanation = data[0].explanation;
  set(item, ".detail", item.explanation);
}

async function request(name, d) {
  const { error } = await ingest.rpc(name, { job_id: d.latest_job_id });
  tell(error);
  refresh();
}

async function open(d, page) {
  const { data, error } = await client.storage.from(d.bucket_id)
    .createSignedUrl(d.object_name, URL_SECONDS);
  tell(error);
  const place = Number.isInteger(page) ? `#page=${page}` : ""; // PDF viewers open this page
  if (data) window.open(data.signedUrl + place, "_blank", "noopener");
}

async function remove(d) {
  if (!confirm(`Delete ${fileName(d)}?`)) return;
  const { error } = await client.storage.from(d.bucket_id).remove([d.object_name]);
  tell(error);
  refresh();
}

// ---------------------------------------------------------------- search

$("search").addEventListener("submit", async (event) => {
  event.preventDefault();
  const query = $("query").value;
  const button = event.target.querySelector("button");
  button.disabled = true;
  $("search-status").textContent = "Searching";
  try {
    const hits = await search(query);
    $("hits").replaceChildren(...hits.map((hit) => hitItem(hit, query)));
    for (const item of $("hits").children) offerWhole(item);
    $("search-status").textContent = hits.length ? `${hits.length} passages` : "Nothing found";
    tell(null);
  } catch (error) {
    $("search-status").textContent = "";
    tell(error);
  }
  button.disabled = false;
});

// A function of the project embeds the query, because the provider's key is there. It names its
// model, and match_chunks answers from the index of that model.
async function search(query) {
  const embedded = await client.functions.invoke("embed", { body: { input: query } });
  if (embedded.error) throw await spoken(embedded.error);
  const { data, error } = await ingest.rpc("match_chunks", {
    query_embedding: JSON.stringify(embedded.data.embedding),
    model: embedded.data.model,
    match_count: HITS,
  });
  if (error) throw error;
  return data;
}

// The function's own error text, if there is one.
async function spoken(error) {
  const said = await error.context?.json?.().catch(() => null);
  return said?.error ? { message: said.error } : error;
}

function hitItem(hit, query) {
  const item = $("hit-template").content.firstElementChild.cloneNode(true);
  const part = partNamed(hit.object_name);
  const pages = hit.page_start === hit.page_end
    ? `${part} ${hit.page_start}` : `${part}s ${hit.page_start} to ${hit.page_end}`;
  set(item, ".name", hit.title || fileName(hit));
  set(item, ".score", hit.score.toFixed(2));
  const headings = hit.headings.filter((heading, depth) => depth || heading !== hit.title);
  set(item, ".place", [fileName(hit), hit.page_start && pages, ...headings]
    .filter(Boolean).join(" \u203a "));
  const pieces = highlighted(hit.content, query);
  const quote = item.querySelector("blockquote");
  quote.append(...fromDensest(pieces));
  const whole = item.querySelector(".whole");
  whole.addEventListener("click", () => {
    const shown = item.classList.toggle("whole");
    quote.replaceChildren(...(shown ? pieces : fromDensest(pieces)));
    whole.textContent = shown ? "Show less" : "Show all";
    whole.setAttribute("aria-expanded", shown);
  });
  return item;
}

// Only a shortened passage gets the button "Show all".
function offerWhole(item) {
  const quote = item.querySelector("blockquote");
  item.querySelector(".whole").hidden =
    quote.scrollHeight <= quote.clientHeight && !quote.textContent.startsWith("\u2026");
  item.querySelector(".actions").hidden = !item.querySelector(".actions > :not([hidden])");
}

// The text in pieces; words of the query are marked, with any ending.
function highlighted(text, query) {
  // Skip short words in Latin letters, such as "the"; in other scripts two letters may be a word.
  const stems = (query.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [])
    .filter((word) => word.length > (isLatin(word) ? 3 : 1))
    .map((word) => word.replace(/(?<=...)(?:ing|e?[ds]|e)$/, "") + (isLatin(word) ? END : ""));
  if (!stems.length) return [text];
  const pattern = new RegExp(stems.map((stem) => START + stem).join("|"), "giu");
  const pieces = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    const mark = document.createElement("mark");
    mark.textContent = match[0];
    pieces.push(text.slice(end, match.index), mark);
    end = match.index + match[0].length;
  }
  return [...pieces, text.slice(end)];
}

// The pieces from a little before the place with the most marks close together.
function fromDensest(pieces) {
  const starts = [];
  let length = 0;
  for (const piece of pieces) {
    if (piece instanceof Element) starts.push(length);
    length += (piece.textContent ?? piece).length;
  }
  const marksAfter = (start) => starts.filter((at) => at >= start && at < start + EXCERPT).length;
  const best = starts.reduce((a, b) => (marksAfter(b) > marksAfter(a) ? b : a), 0);
  if (best < EXCERPT / 2) return pieces;
  return ["\u2026 ", ...cutBefore(pieces, best - BEFORE)];
}

function cutBefore(pieces, start) {
  const rest = [];
  let at = 0;
  for (const piece of pieces) {
    const text = piece.textContent ?? piece;
    // Begin at the start of a word.
    if (at >= start) rest.push(piece.cloneNode?.(true) ?? piece);
    else if (at + text.length > start) rest.push(text.slice(start - at).replace(/^\S*\s+/, ""));
    at += text.length;
  }
  return rest;
}

// How many characters of a closed passage are shown, and how many before its first mark.
const EXCERPT = 400;
const BEFORE = 80;
const START = "(?<![\\p{L}\\p{N}])";
const END = "\\p{L}{0,3}(?![\\p{L}\\p{N}])";
const isLatin = (word) => /^[\x00-\u024f]+$/.test(word);

// ---------------------------------------------------------------- ask

let conversation = null;      // its id, once there is one
let asking = null;            // aborts the question that is being answered

for (const name of ["search", "ask"]) {
  $(`${name}-tab`).addEventListener("click", () => {
    for (const other of ["search", "ask"]) {
      $(`${other}-panel`).hidden = other !== name;
      $(`${other}-tab`).setAttribute("aria-selected", other === name);
    }
  });
}

$("new-conversation").addEventListener("click", beginAnew);

// Say this before the user types a question that no model can answer.
const unanswered = config.asks === false
  ? "No model answers questions here yet: set DOCMILL_CHAT_MODEL, and start docmill up again." : "";
for (const field of unanswered ? $("ask").elements : []) field.disabled = true;

function beginAnew() {
  asking?.abort();
  conversation = null;
  $("new-conversation").hidden = true;
  $("ask-status").textContent = unanswered;
  $("answer").replaceChildren();
  $("sources").replaceChildren();
}

$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  asking?.abort();
  const mine = asking = new AbortController();
  const { question } = event.target.elements;
  $("ask-status").textContent = "Looking it up";
  $("answer").replaceChildren();
  $("sources").replaceChildren();
  tell(null);
  try {
    await ask(question.value, mine.signal);
    question.value = "";
  } catch (error) {
    if (mine.signal.aborted) return;
    // Text that was not checked is not an answer: remove it.
    $("answer").replaceChildren();
    $("ask-status").textContent = "";
    tell(error);
  }
});

async function ask(question, signal) {
  const { data, error } = await client.functions.invoke("ask", {
    body: { question, conversation_id: conversation }, signal });
  signal.throwIfAborted();
  if (error) throw await spoken(error);
  let sources = [];
  for await (const [name, said] of eventsOf(data)) {
    signal.throwIfAborted();
    if (name === "error") throw { message: said.error };
    if (name === "sources") {
      conversation = said.conversation_id;
      $("new-conversation").hidden = false;
      sources = said.sources;
      $("ask-status").textContent = said.query === question ? "" : `Searched for: ${said.query}`;
    }
    if (name === "delta") {
      $("answer").classList.add("unchecked");
      $("answer").append(said.text);
    }
    if (name === "result") showResult(said, sources);
  }
}

async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    const blocks = (text + read.value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const [, name, data] = block.match(/^event: (.*)\ndata: (.*)$/) ?? [];
      if (name) yield [name, JSON.parse(data)];
    }
  }
}

// Show the answer as plain text: a link or picture in it could send content of documents to another
// server. Only numbers of sources become buttons.
function showResult({ answer, cited, removed, is_cut }, sources) {
  $("answer").classList.remove("unchecked");
  $("answer").replaceChildren(...answer.split(/(\[\d+\])/).map((piece) => {
    const number = Number(piece.match(/^\[(\d+)\]$/)?.[1]);
    return cited.includes(number) ? citation(number) : piece;
  }));
  const notes = [];
  if (removed.length) notes.push(`The answer cited sources that do not exist: ${removed.join(", ")}.`);
  if (is_cut) notes.push("The answer was cut: it is too long.");
  if (notes.length) $("ask-status").textContent = notes.join(" ");
  const shown = sources.filter(({ number }) => cited.includes(number));
  $("sources").replaceChildren(...shown.map(sourceItem));
  for (const item of $("sources").children) offerWhole(item);
}

function citation(number) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = number;
  button.setAttribute("aria-label", `Source ${number}`);
  button.addEventListener("click", () => {
    const item = $("sources").querySelector(`[data-number="${number}"]`);
    item.scrollIntoView({ block: "nearest" });
    item.focus();
  });
  return button;
}

function sourceItem(source) {
  const item = hitItem({ ...source, score: 0 }, "");
  item.dataset.number = source.number;
  item.tabIndex = -1;
  set(item, ".score", `[${source.number}]`);
  const opener = item.querySelector(".open");
  opener.hidden = false;
  opener.setAttribute("aria-label", `Open ${fileName(source)}`);
  opener.addEventListener("click", () => open(source, source.page_start));
  return item;
}

// ---------------------------------------------------------------- errors

function tell(error) {
  $("notice").hidden = !error;
  $("notice").textContent = error?.message ?? "";
}
