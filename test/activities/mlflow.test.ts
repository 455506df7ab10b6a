import { createServer } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { expect, it } from 'vitest';
import { createMlflow, plainKey } from '../../activities/mlflow.ts';
import { mlflowServer } from '../../activities/mlflow-server.ts';
import { freePort } from '../support/nats.ts';

const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`;

it.each([
  [{ MLFLOW_TRACKING_URI: 'http://m:5000/' }, { url: 'http://m:5000' }],
  [
    { MLFLOW_TRACKING_URI: 'https://m/ml/', MLFLOW_TRACKING_TOKEN: 't' },
    { url: 'https://m/ml', authorization: 'Bearer t' },
  ],
  [{ MLFLOW_TRACKING_URI: 'http://a%40b:c@m' }, { url: 'http://m', authorization: basic('a@b:c') }],
  [{ MLFLOW_TRACKING_URI: 'http://a:100%@m' }, { url: 'http://m', authorization: basic('a:100%') }],
  [
    { MLFLOW_TRACKING_URI: 'http://m', MLFLOW_TRACKING_USERNAME: 'u', MLFLOW_TRACKING_PASSWORD: 'p' },
    { url: 'http://m', authorization: basic('u:p') },
  ],
  [
    { MLFLOW_TRACKING_URI: 'databricks', DATABRICKS_HOST: 'dbc.example', DATABRICKS_TOKEN: 't' },
    { url: 'https://dbc.example', authorization: 'Bearer t', isDatabricks: true },
  ],
  [
    { MLFLOW_TRACKING_URI: 'http://m', MLFLOW_TRACKING_TOKEN: ' t\n' },
    { url: 'http://m', authorization: 'Bearer t' },
  ],
])('%o is reached at %o', (variables, server) => {
  expect(mlflowServer(variables)).toEqual({ isDatabricks: false, ...server });
});

it.each([
  [{}, /is not set/],
  [{ MLFLOW_TRACKING_URI: 'postgresql://user:hidden@db/mlflow' }, /of the kind postgresql,/],
  [{ MLFLOW_TRACKING_URI: 'databricks' }, /mcli create secret databricks/],
  [
    { MLFLOW_TRACKING_URI: 'http://m', MLFLOW_TRACKING_TOKEN: 'hidden\nhidden' },
    /MLFLOW_TRACKING_TOKEN is no token/,
  ],
  [
    { MLFLOW_TRACKING_URI: 'databricks', DATABRICKS_HOST: 'd', DATABRICKS_TOKEN: 'hidden…' },
    /DATABRICKS_TOKEN is no token/,
  ],
  [
    { MLFLOW_TRACKING_URI: 'databricks', DATABRICKS_HOST: 'https://me:hidden@d', DATABRICKS_TOKEN: 't' },
    /DATABRICKS_HOST is no plain address/,
  ],
])('%o is refused with what is missing or wrong, which is not quoted', (variables, words) => {
  expect(() => mlflowServer(variables)).toThrow(words);
  expect(() => mlflowServer(variables)).not.toThrow(/hidden/);
});

it.each([
  ['acc@1', 'acc_1'],
  ['', '_'],
  ['.', '_'],
  ['..', '_'],
  ['a//b/', 'a_b_'],
  ['a/./../b', 'a/_/_/b'],
  [`${'a'.repeat(248)}/../b`, `${'a'.repeat(248)}/_`],
  [`${'a'.repeat(249)}/b`, `${'a'.repeat(249)}_`],
])('%o is the parameter %o', (name, key) => {
  expect(plainKey(name)).toBe(key);
  expect(plainKey(key)).toBe(key);
});

it('shows credentials to nobody but the address that was named, and quotes no page that is not MLflow', async () => {
  const asked: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    asked.push(request);
    if (request.url?.includes('elsewhere')) response.end('{}');
    else response.writeHead(302, { location: '/elsewhere' }).end('inner page');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const uri = `http://user:word@127.0.0.1:${port}`;
  const mlflow = createMlflow(mlflowServer({ MLFLOW_TRACKING_URI: uri }), 5_000);
  await expect(mlflow.get('1')).rejects.toThrow(
    /^What answers at http:\/\/127.0.0.1:\d+ is no MLflow server \(HTTP 302\).$/,
  );
  expect(asked.map(({ headers }) => headers.authorization)).toEqual([basic('user:word')]);
  server.close();
});

it.each([
  [{ MLFLOW_TRACKING_TOKEN: 'token-0123456789' }, 'Bearer token-0123456789'],
  [{ MLFLOW_TRACKING_USERNAME: 'u', MLFLOW_TRACKING_PASSWORD: 'word-01234567' }, 'word-01234567'],
])('quotes what MLflow says without the credentials that it may repeat', async (credentials, secret) => {
  const server = createServer((request, response) => {
    const message = `no \u001b[31m ${secret} or ${request.headers.authorization} ${'x'.repeat(9_000)}`;
    response.writeHead(400).end(JSON.stringify({ error_code: 'BAD_REQUEST', message }));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const uri = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const mlflow = createMlflow(mlflowServer({ MLFLOW_TRACKING_URI: uri, ...credentials }), 5_000);
  await expect(mlflow.get('1')).rejects.toThrow(
    /^MLflow at \S+ refuses: no {2}\[31m (Bearer )?\*\*\* or (Bearer|Basic) \S*\*\*\*\S* x{400,500}$/,
  );
  server.close();
});

it('says why the network does not bring an answer, and nothing of a request that cannot be made', async () => {
  const away = createMlflow({ url: `http://127.0.0.1:${await freePort()}`, isDatabricks: false }, 5_000);
  await expect(away.get('1')).rejects.toThrow(/does not answer: connect ECONNREFUSED/);
  const odd = { url: 'http://m', authorization: 'Bearer hidden\nhidden', isDatabricks: false };
  const error: unknown = await createMlflow(odd, 5_000)
    .get('1')
    .catch((reason: unknown) => reason);
  expect(inspect(error)).toMatch(/MLflow at http:\/\/m does not answer/);
  expect(inspect(error)).not.toContain('hidden');
});
