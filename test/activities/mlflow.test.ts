import { createServer } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { createMlflow, mlflowServer } from '../../activities/mlflow.ts';

const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`;

it.each([
  [{ MLFLOW_TRACKING_URI: 'http://m:5000/' }, { url: 'http://m:5000' }],
  [
    { MLFLOW_TRACKING_URI: 'https://m/ml/', MLFLOW_TRACKING_TOKEN: 't' },
    { url: 'https://m/ml', authorization: 'Bearer t' },
  ],
  [{ MLFLOW_TRACKING_URI: 'http://a%40b:c@m' }, { url: 'http://m', authorization: basic('a@b:c') }],
  [
    { MLFLOW_TRACKING_URI: 'http://m', MLFLOW_TRACKING_USERNAME: 'u', MLFLOW_TRACKING_PASSWORD: 'p' },
    { url: 'http://m', authorization: basic('u:p') },
  ],
  [
    { MLFLOW_TRACKING_URI: 'databricks', DATABRICKS_HOST: 'dbc.example', DATABRICKS_TOKEN: 't' },
    { url: 'https://dbc.example', authorization: 'Bearer t', isDatabricks: true },
  ],
])('%o is reached at %o', (variables, server) => {
  expect(mlflowServer(variables)).toEqual({ isDatabricks: false, ...server });
});

it.each([
  [{}, /is not set/],
  [{ MLFLOW_TRACKING_URI: 'postgresql://user:hidden@db/mlflow' }, /of the kind postgresql,/],
  [{ MLFLOW_TRACKING_URI: 'databricks' }, /mcli create secret databricks/],
])('%o is refused with what is missing', (variables, words) => {
  expect(() => mlflowServer(variables)).toThrow(words);
  expect(() => mlflowServer(variables)).not.toThrow(/hidden/);
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
