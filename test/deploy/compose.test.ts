import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { CLUSTER_QUEUE, CONTROL_QUEUE, HISTORY_DAYS, NAMESPACE } from '../../core/naming.ts';
import { SEARCH_ATTRIBUTES } from '../../core/search-attributes.ts';
import { composeConfig, findCompose } from '../support/compose.ts';
import { freePort } from '../support/nats.ts';

const exec = promisify(execFile);
const root = path.resolve(import.meta.dirname, '../..');

interface Service {
  readonly image: string;
  readonly command?: readonly string[];
  readonly ports?: readonly (string | { readonly host_ip?: string })[];
  readonly volumes?: readonly (string | { readonly type: string; readonly source: string })[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: { readonly test: readonly string[] };
}

describe('the compose file', async () => {
  const compose = await findCompose();
  const reason =
    'no compose implementation here, and none could be installed: apt-get install docker-compose';
  let services: Readonly<Record<string, Service>> = {};
  let directory = '';

  beforeAll(async () => {
    if (compose === undefined) return;
    // In a folder of its own: a .env of the checkout is nobody else's business.
    directory = await mkdtemp(path.join(os.tmpdir(), 'mcli-compose-'));
    await cp(path.join(root, 'docker-compose.yml'), path.join(directory, 'docker-compose.yml'));
    const config = await composeConfig(compose, directory, { MCLI_POSTGRES_PASSWORD: 'for this test' });
    services = (parse(config) as { services: Record<string, Service> }).services;
  });
  afterAll(async () => {
    if (directory !== '') await rm(directory, { recursive: true });
  });

  test('is understood by a compose implementation, with every part of the design in it', (context) => {
    if (compose === undefined) return context.skip(reason);
    expect(Object.keys(services).toSorted()).toEqual([
      'cluster-worker',
      'control-worker',
      'nats',
      'node-agent',
      'postgresql',
      'temporal',
      'temporal-namespace',
      'temporal-schema',
      'temporal-ui',
    ]);
  });

  test('asks for a database password instead of bringing one', async (context) => {
    if (compose === undefined) return context.skip(reason);
    await expect(composeConfig(compose, directory, {})).rejects.toThrow(/MCLI_POSTGRES_PASSWORD/);
  });

  test('pins every image to a version', (context) => {
    if (compose === undefined) return context.skip(reason);
    for (const { image } of Object.values(services)) expect(image).toMatch(/:\d+\.\d+/);
  });

  test('publishes ports on loopback only', (context) => {
    if (compose === undefined) return context.skip(reason);
    const hosts = Object.values(services)
      .flatMap(({ ports = [] }) => ports)
      .map((port) => (typeof port === 'string' ? port.split(':')[0] : port.host_ip));
    expect(hosts.length).toBeGreaterThan(0);
    expect([...new Set(hosts)]).toEqual(['127.0.0.1']);
  });

  test('checks the health of everything that stays, and waits for it', (context) => {
    if (compose === undefined) return context.skip(reason);
    const oneShot = ['temporal-schema', 'temporal-namespace'];
    for (const [name, { healthcheck }] of Object.entries(services)) {
      expect(healthcheck !== undefined, name).toBe(!oneShot.includes(name));
    }
    for (const { depends_on: others = {} } of Object.values(services)) {
      for (const [name, { condition }] of Object.entries(others)) {
        const expected = oneShot.includes(name) ? 'service_completed_successfully' : 'service_healthy';
        expect(condition, name).toBe(expected);
      }
    }
  });

  test('checks workers by the task queue that they poll', (context) => {
    if (compose === undefined) return context.skip(reason);
    expect(services['control-worker']?.healthcheck?.test.at(-1)).toBe(CONTROL_QUEUE);
    expect(services['cluster-worker']?.healthcheck?.test.at(-1)).toBe(CLUSTER_QUEUE);
    expect(services['node-agent']?.healthcheck?.test.at(-1)).toBe('node/r1z1/node-0');
  });

  test('starts programs that the build makes, from files that the image has', async (context) => {
    if (compose === undefined) return context.skip(reason);
    const build = await readFile(path.join(root, 'scripts/build.ts'), 'utf8');
    const programs = Object.values(services).flatMap(
      ({ command = [] }) => command.find((word) => word.startsWith('dist/')) ?? [],
    );
    expect(programs).toHaveLength(3);
    for (const program of programs) expect(build).toContain(path.basename(program, '.js'));
  });
});

describe('the namespace of production', () => {
  let temporal: ChildProcess | undefined;
  let address = '';
  const binary = process.env['MCLI_TEMPORAL_BIN'] ?? '';

  beforeAll(async () => {
    if (binary === '') throw new Error('MCLI_TEMPORAL_BIN is not set: run the tests with `npm test`');
    const port = String(await freePort());
    address = `127.0.0.1:${port}`;
    temporal = spawn(
      binary,
      ['server', 'start-dev', '--headless', '--ip', '127.0.0.1', '--port', port, '--log-level', 'error'],
      { stdio: 'ignore' },
    );
  });
  afterAll(async () => {
    temporal?.kill();
    if (temporal?.exitCode === null) await once(temporal, 'exit');
  });

  test('keeps history for 14 days and knows the search attributes, however often it is prepared', async () => {
    const env = {
      ...process.env,
      PATH: `${path.dirname(binary)}:${process.env['PATH']}`,
      TEMPORAL_ADDRESS: address,
    };
    const prepare = (): Promise<unknown> =>
      exec('sh', [path.join(root, 'deploy/temporal/prepare-namespace.sh')], { env });
    await prepare();
    await prepare();

    const ask = async (...words: string[]): Promise<unknown> => {
      const { stdout } = await exec(binary, ['operator', ...words, '-n', NAMESPACE, '-o', 'json'], { env });
      return JSON.parse(stdout) as unknown;
    };
    const described = (await ask('namespace', 'describe')) as {
      config: { workflowExecutionRetentionTtl: string };
    };
    expect(described.config.workflowExecutionRetentionTtl).toBe(`${HISTORY_DAYS * 86_400}s`);
    const listed = (await ask('search-attribute', 'list')) as {
      customAttributes: Readonly<Record<string, string>>;
    };
    const types = Object.entries(listed.customAttributes).map(([name, type]) => [
      name,
      camelCase(type.replace('INDEXED_VALUE_TYPE_', '')),
    ]);
    expect(Object.fromEntries(types)).toEqual(SEARCH_ATTRIBUTES);
  });
});

/** `KEYWORD_LIST` → `KeywordList`. */
function camelCase(constant: string): string {
  return constant
    .split('_')
    .map((word) => word.charAt(0) + word.slice(1).toLowerCase())
    .join('');
}
