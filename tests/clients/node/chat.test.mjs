// OpenAI's own SDK for Node against a running server. The tests beside it say where both are:
// LLAMAWIRE_BASE_URL, and LLAMAWIRE_MODULES, the folder in which the SDK is installed.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";

const require = createRequire(`${process.env.LLAMAWIRE_MODULES}/`);
const { OpenAI } = require("openai");
const { zodFunction, zodResponseFormat } = require("openai/helpers/zod");
const { z } = require("zod");

const client = new OpenAI({ baseURL: process.env.LLAMAWIRE_BASE_URL, apiKey: "none", maxRetries: 0 });

const TEXT = "The fox is red.";
const asked = {
  model: "smollm2",
  messages: [{ role: "user", content: "What is the weather like where the fox lives?" }],
  temperature: 0,
  max_completion_tokens: 100,
};
// Leaves the model nothing else to say.
const sayText = { ...asked, response_format: { type: "grammar", syntax: "regex", grammar: "The fox is red\\." } };

const Weather = z.object({ city: z.enum(["Rome", "Oslo"]), days: z.number().int().min(1).max(3) });
const Animal = z.object({ kind: z.enum(["fox", "wolf"]), colours: z.array(z.enum(["red", "grey"])).min(1).max(2) });
const weather = (calls) =>
  zodFunction({
    name: "weather",
    parameters: Weather,
    function: ({ city, days }) => {
      calls.push({ city, days });
      return `Sunny in ${city}.`;
    },
  });

test("a whole answer", async () => {
  const answer = await client.chat.completions.create(sayText);
  assert.equal(answer.choices[0].message.content, TEXT);
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(answer.object, "chat.completion");
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  assert.ok(answer._request_id);
});

test("a stream", async () => {
  const chunks = [];
  const stream = await client.chat.completions.create({
    ...sayText,
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const chunk of stream) chunks.push(chunk);
  const last = chunks.pop();
  assert.equal(chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join(""), TEXT);
  assert.equal(chunks[0].choices[0].delta.role, "assistant");
  assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
  assert.ok(chunks.every((chunk) => chunk.usage === null));
  assert.deepEqual(last.choices, []);
  assert.ok(last.usage.completion_tokens > 0);
});

test("the stream helper", async () => {
  let said = "";
  const stream = client.chat.completions.stream({ ...sayText, stream_options: { include_usage: true } });
  stream.on("content", (delta, snapshot) => {
    said += delta;
    assert.equal(snapshot, said);
  });
  const answer = await stream.finalChatCompletion();
  assert.equal(said, TEXT);
  assert.equal(await stream.finalContent(), TEXT);
  assert.equal(answer.choices[0].message.role, "assistant");
  assert.equal((await stream.totalUsage()).completion_tokens, answer.usage.completion_tokens);
});

test("an answer is parsed", async () => {
  const format = { ...asked, response_format: zodResponseFormat(Animal, "animal") };
  const answer = await client.chat.completions.parse(format);
  const animal = Animal.parse(answer.choices[0].message.parsed);
  const streamed = await client.chat.completions.stream(format).finalChatCompletion();
  assert.deepEqual(streamed.choices[0].message.parsed, animal);
});

test("tools are run", async () => {
  for (const stream of [false, true]) {
    const calls = [];
    const runner = client.chat.completions.runTools({
      ...asked,
      stream,
      tools: [weather(calls)],
      tool_choice: { type: "function", function: { name: "weather" } },
      parallel_tool_calls: false,
    });
    await runner.done();
    assert.equal(calls.length, 1);
    Weather.parse(calls[0]);
    assert.equal(runner.messages.at(-1).role, "tool");
    // To the end: the model has what it asked for, and says something.
    const answer = await client.chat.completions.create({
      ...asked,
      max_completion_tokens: 20,
      messages: runner.messages,
    });
    assert.ok(answer.choices[0].message.content);
  }
});

test("tools are run until the model has no more to ask", async () => {
  const calls = [];
  const runner = client.chat.completions.runTools(
    { ...asked, max_completion_tokens: 60, tools: [weather(calls)] },
    { maxChatCompletions: 4 },
  );
  await runner.done();
  for (const call of calls) Weather.parse(call);
  assert.equal(calls.length, runner.messages.filter((message) => message.role === "tool").length);
});

test("several choices and their log probabilities", async () => {
  const answer = await client.chat.completions.create({ ...sayText, n: 2, logprobs: true, top_logprobs: 2 });
  assert.deepEqual(answer.choices.map((choice) => choice.message.content), [TEXT, TEXT]);
  const tokens = answer.choices[0].logprobs.content;
  assert.equal(tokens.map((token) => token.token).join(""), TEXT);
  assert.ok(tokens.every((token) => token.top_logprobs.length === 2));
});

test("an answer as it came", async () => {
  const { data, response, request_id } = await client.chat.completions
    .create(sayText, { headers: { "x-request-id": "mine-1" } })
    .withResponse();
  assert.equal(data.choices[0].message.content, TEXT);
  assert.equal(response.headers.get("content-type"), "application/json");
  assert.equal(request_id, "mine-1");
});

test("errors are the SDK's own", async () => {
  for (const stream of [false, true]) {
    await assert.rejects(client.chat.completions.create({ ...asked, model: "smollm3", stream }), (error) => {
      assert.ok(error instanceof OpenAI.NotFoundError);
      assert.equal(error.code, "model_not_found");
      assert.ok(error.requestID);
      return true;
    });
    await assert.rejects(client.chat.completions.create({ ...asked, temperature: 9, stream }), (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError);
      assert.equal(error.param, "temperature");
      return true;
    });
  }
});

test("a stream that is left in the middle", async () => {
  const stream = await client.chat.completions.create({
    ...asked,
    max_completion_tokens: 4000,
    stop: ["\0"],
    stream: true,
  });
  for await (const chunk of stream) {
    if (chunk.choices[0]?.delta.content) break;
  }
  assert.ok(stream.controller.signal.aborted);
});

test("models", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.includes("smollm2"));
  assert.equal((await client.models.retrieve("smollm2")).owned_by, "llamawire");
});
