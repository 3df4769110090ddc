// Makes the text for the model and checks its answer. No I/O. docmill.worker.grounding does the
// same in Python; tests compare the two.

import prompts from "./prompts.json" with { type: "json" };

export { prompts };

export type Passage = {
  chunk_id: string;
  document_id: string;
  bucket_id: string;
  object_name: string;
  title: string | null;
  headings: string[];
  page_start: number | null;
  page_end: number | null;
  content: string;
};
export type Source = Passage & { number: number };
export type Message = { role: string; content: string };

// Control characters, marks of direction, and tags and selectors of variants, which only models read.
const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e0fff}]/gu;
// A number of any length, or a range of two.
const NUMBERS = "[0-9０-９]+(?:[ \\t]*[-–][ \\t]*[0-9０-９]+)?";
// Numbers and ranges in brackets, as answers cite sources, in Chinese and Japanese too.
const CITATION = new RegExp(
  `([ \\t]*)[[【［][ \\t]*(${NUMBERS}(?:[ \\t]*[,;，；、][ \\t]*${NUMBERS})*)[ \\t]*[\\]】］]`,
  "g",
);
const LARGEST = 999_999_999; // larger than the number of any source

/** A random marker, so that no document can contain it. */
export const makeNonce = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");

/** Estimates the tokens of a text, rather too high: a third of its bytes. */
export const tokensOf = (text: string) => Math.ceil(new TextEncoder().encode(text).length / 3);

/** Removes invisible characters and everything that looks like a citation. */
export const cleaned = (text: string) => text.replace(UNSEEN, "").replace(CITATION, "$1($2)");

/** The passages that fit into the budget, numbered, and their text between delimiters. */
export function contextOf(
  passages: Passage[],
  nonce: string,
  budget: number = prompts.source_tokens,
): { sources: Source[]; text: string } {
  const sources: Source[] = [];
  const blocks: string[] = [];
  let left = budget;
  for (const passage of passages) {
    if (sources.length === prompts.sources_sent) break;
    let text = textOf(passage);
    if (tokensOf(text) > left) {
      if (sources.length) continue;
      text = [...text].slice(0, Math.floor(budget * 3 / 4)).join("");
    }
    left -= tokensOf(text);
    const number = sources.length + 1;
    sources.push({ ...passage, number });
    blocks.push(`<source ${number} ${nonce}>\n${text}\n</source ${number} ${nonce}>`);
  }
  return { sources, text: blocks.join("\n\n") };
}

function textOf(passage: Passage): string {
  const { title, object_name, headings, page_start, page_end, content } = passage;
  const lines = [`Document: ${oneLine(title || object_name)}`];
  if (headings.length) {
    lines.push(`Section: ${headings.slice(-prompts.headings_sent).map(oneLine).join(" > ")}`);
  }
  if (page_start !== null) {
    lines.push(`Pages: ${page_start}${page_end === page_start ? "" : `-${page_end}`}`);
  }
  return `${lines.join("\n")}\n\n${cleaned(content)}`;
}

// A name on one line. Cut: a long one would leave no room for passages.
const oneLine = (text: string) =>
  [...cleaned(text).split(/[ \t\n\v\f\r\u2028\u2029]+/).filter(Boolean).join(" ")]
    .slice(0, prompts.name_characters).join("");

/** The messages for an answer: rules, as much earlier conversation as fits, the question. */
export function answerMessages(
  question: string,
  context: string,
  history: Message[],
  nonce: string,
): Message[] {
  const rules = filled(prompts.answer, { nonce, not_found: prompts.not_found });
  return [
    { role: "system", content: rules },
    ...fitting(history),
    { role: "user", content: filled(prompts.question, { sources: context, question }) },
  ];
}

/** The messages that ask for the question in a form that needs no conversation. */
export function rewriteMessages(question: string, history: Message[]): Message[] {
  const said = fitting(history).map(({ role, content }) =>
    `${role === "user" ? "User" : "Assistant"}: ${content}`
  ).join("\n");
  return [
    { role: "system", content: prompts.rewrite },
    { role: "user", content: filled(prompts.conversation, { said, question }) },
  ];
}

/** A model's text as PostgreSQL and JSON can carry it: without NUL, and no half characters. */
export const storable = (text: string) => text.toWellFormed().replaceAll("\0", "");

/** The query of the search: the model's question, or the user's own if the model wrote none. */
export function queryOf(written: string, question: string): string {
  const line = storable(written).split("\n").map((line) => line.trim()).find(Boolean) ?? question;
  return [...line].slice(0, prompts.query_characters).join("");
}

/**
 * The query without quotes. Passages must hold a quoted text word for word; if none does, a question
 * is searched for again without quotes.
 */
export const unquoted = (query: string) => query.replace(/["„“”«»]/g, " ");

// The newest pairs of question and answer that fit. Their citations are removed, because the old
// numbers would name new sources.
function fitting(history: Message[]): Message[] {
  let left = prompts.history_tokens;
  const kept: Message[] = [];
  for (let end = history.length; end >= 2; end -= 2) {
    const pair = history.slice(end - 2, end)
      .map(({ role, content }) => ({ role, content: content.replace(CITATION, "") }));
    left -= pair.reduce((sum, { content }) => sum + tokensOf(content), 0);
    if (left < 0) break;
    kept.unshift(...pair);
  }
  return kept;
}

// In one pass: a value that looks like a placeholder stays unchanged.
const filled = (template: string, values: Record<string, string>) =>
  template.replace(/\{([a-z_]+)\}/g, (whole, name) => values[name] ?? whole);

export type Checked = {
  outcome: "answered" | "not_found";
  answer: string;
  cited: number[];
  removed: number[];
};

/** The numbers of a citation, in their order; of a range over more than 50 only its ends. */
function citedIn(numbers: string): number[] {
  return numbers.split(/[,;，；、]/).flatMap((part) => {
    const ends = (part.match(/[0-9０-９]+/g) as string[]).map((digits) =>
      Math.min(Number(digits.slice(0, 10).normalize("NFKC")), LARGEST)
    );
    const [first, last] = [ends[0], ends[ends.length - 1]];
    if (first > last || last > first + 50) return [first, last];
    return Array.from({ length: last - first + 1 }, (_, place) => first + place);
  });
}

/**
 * The answer with only the citations of sources that were sent. `removed` has the other numbers. A
 * text without a citation is not an answer.
 */
export function checked(written: string, sources: number, nonce: string): Checked {
  const cited = new Set<number>();
  const removed = new Set<number>();
  const answer = storable(written).replaceAll(nonce, "").replace(CITATION, (_whole, space, numbers) => {
    const said = citedIn(numbers);
    const known = said.filter((number) => number >= 1 && number <= sources);
    for (const number of said) (known.includes(number) ? cited : removed).add(number);
    return known.length ? space + known.map((number) => `[${number}]`).join("") : "";
  }).trim();
  const sorted = (numbers: Set<number>) => [...numbers].sort((a, b) => a - b);
  return {
    outcome: cited.size ? "answered" : "not_found",
    answer: cited.size ? answer : prompts.not_found,
    cited: sorted(cited),
    removed: sorted(removed),
  };
}
