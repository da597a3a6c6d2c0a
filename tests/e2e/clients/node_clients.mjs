// Runs one of OpenAI's clients for Node, from a folder with its packages. Standard input and output are those of
// python_clients.py.
import dns from 'node:dns';
import net from 'node:net';
import { text } from 'node:stream/consumers';

// Refuse every host but this one.
const refuse = (what) => { process.stderr.write(`${what}\n`); process.exit(3); };
const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...given) {
  const [first] = Array.isArray(given[0]) ? given[0] : given;
  const host = first?.host ?? first?.path ?? 'nothing';
  if (host !== '127.0.0.1') refuse(`connected to ${host}`);
  return connect.apply(this, given);
};
dns.lookup = (name) => refuse(`looked up ${name}`);
dns.promises.lookup = async (name) => refuse(`looked up ${name}`);

const { default: OpenAI } = await import('openai');
const { generateText, streamText } = await import('ai');
const { createOpenAI } = await import('@ai-sdk/openai');
const { createOpenAICompatible } = await import('@ai-sdk/openai-compatible');

const NEUTRAL = {
  frequency_penalty: 0, presence_penalty: 0, logit_bias: {}, logprobs: false, metadata: { run: '3' },
  modalities: ['text'], n: 1, parallel_tool_calls: false, response_format: { type: 'text' }, service_tier: 'auto',
  stop: null, store: false, temperature: 0, tool_choice: 'none', tools: [], top_p: 1, user: 'u',
};

async function useOpenAI(url, { kind, model, question, image, fields, ours }) {
  const client = new OpenAI({ baseURL: url, apiKey: 'none', maxRetries: 0, timeout: 60_000 });
  if (kind === 'models') {
    const models = [];
    for await (const one of client.models.list()) models.push([one.id, one.object, one.owned_by, one.created]);
    return models;
  }
  if (kind === 'model') return (await client.models.retrieve(model)).id;
  const content = [{ type: 'text', text: question }, { type: 'image_url', image_url: { url: image } }];
  const asked = { model, messages: [{ role: 'user', content }], ...ours, ...(kind === 'neutral' ? NEUTRAL : {}), ...fields };
  if (kind !== 'stream') return told(await client.chat.completions.create(asked));
  const stream = client.chat.completions.stream({ ...asked, stream_options: { include_usage: true } });
  let pieces = '';
  stream.on('content', (piece) => { pieces += piece; });
  const answer = await stream.finalChatCompletion();
  if (pieces !== answer.choices[0].message.content) throw new Error(`pieces ${pieces}`);
  return told(answer);
}

function told({ choices: [{ message, finish_reason: finish }], usage }) {
  return { role: message.role, text: message.content, finish, tokens: usage.total_tokens };
}

const aiSdk = (makeModel) => async (url, { kind, model, question, image, fields, ours }) => {
  const asked = {
    model: makeModel(url, model),
    messages: [{ role: 'user', content: [{ type: 'text', text: question }, { type: 'image', image }] }],
    maxRetries: 0,
    providerOptions: { thinwire: ours },
  };
  if ('max_tokens' in fields) asked.maxOutputTokens = fields.max_tokens;
  if ('stop' in fields) asked.stopSequences = fields.stop;
  if (kind === 'neutral') {
    Object.assign(asked, { temperature: 0, topP: 1, frequencyPenalty: 0, presencePenalty: 0, stopSequences: [], tools: {}, toolChoice: 'none' });
  }
  const collect = ({ text, finishReason, usage }) => (
    { role: 'assistant', text, finish: finishReason, tokens: usage.totalTokens }
  );
  if (kind !== 'stream') return collect(await generateText(asked));
  let failure;
  const stream = streamText({ ...asked, onError: ({ error }) => { failure = error; } });
  let pieces = '';
  for await (const piece of stream.textStream) pieces += piece;
  if (failure) throw failure;
  return collect({ text: pieces, finishReason: await stream.finishReason, usage: await stream.usage });
};

const clients = {
  'openai-node': useOpenAI,
  'ai-sdk-openai': aiSdk((baseURL, model) => createOpenAI({ baseURL, apiKey: 'none' }).chat(model)),
  'ai-sdk-compatible': aiSdk((baseURL, model) =>
    createOpenAICompatible({ name: 'thinwire', baseURL, includeUsage: true }).chatModel(model)),
};

function shown(error) {
  const inner = error.data?.error ?? error;
  const { code = null, param = null } = inner;
  const status = error.status ?? error.statusCode ?? null;
  const message = error.message ?? JSON.stringify(error);
  return { message, class: error.name ?? typeof error, status, code, param };
}

const { client, cases } = JSON.parse(await text(process.stdin));
const results = {};
for (const [name, one] of Object.entries(cases)) {
  try {
    results[name] = { answer: await clients[client](one.url, one) };
  } catch (error) {
    results[name] = { error: shown(error) };
  }
}
process.stdout.write(JSON.stringify(results));
