import {
  access,
  chmod,
  mkdir,
  mkdtemp,
  readFile,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import Dockerode from 'dockerode';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createContainerActivities } from '../../activities/container.ts';
import type { ContainerExit, RankExecution } from '../../activities/contract.ts';
import { createMaskedValues } from '../../activities/masked-values.ts';
import { createRunSecrets } from '../../activities/run-secrets.ts';
import { openRuntimeDir } from '../../activities/runtime-dir.ts';
import { FAILURES } from '../../core/failures.ts';
import { containerName } from '../../core/naming.ts';
import type { SecretContent } from '../../core/secret.ts';
import {
  aLogShipper,
  anAttempt,
  aRank,
  aRankToRun,
  docker,
  SETTINGS,
  shippedLog,
  shutDown,
} from '../support/docker.ts';
import { useNats } from '../support/nats.ts';
import type { SecretNode } from '../support/secrets.ts';
import { aSecretNode, secretsClient } from '../support/secrets.ts';

const nats = useNats();
let node: SecretNode;
let client: ReturnType<typeof secretsClient>;
let root: string;

beforeAll(async () => {
  client = secretsClient(nats.url);
  node = await aSecretNode(nats.connection, 'test-node');
  await node.newKey();
  await node.look();
});
afterAll(async () => {
  await node.remove();
  await client[Symbol.asyncDispose]();
});
beforeEach(async () => {
  root = await mkdtemp('/dev/shm/mcli-test-');
});
afterEach(async () => {
  for (const { name } of await client.list('tester')) await client.delete('tester', name);
  await rm(root, { recursive: true, force: true });
});

/** One life of an agent with secrets. */
async function anAgent(roots: readonly string[] = [root], of: SecretNode = node) {
  const { identities, folder: stateDirectory } = of;
  const runtime = await openRuntimeDir({ roots, owner: 'test', stateDirectory, warn: () => undefined });
  const masked = createMaskedValues({ runtime, identities, stateDirectory });
  const secrets = createRunSecrets({ store: of.store(0), runtime, masked, docker });
  const logs = aLogShipper(nats.connection, { secretsOf: (ref) => secrets.maskedFor(ref) });
  const activities = createContainerActivities({
    docker,
    logs,
    settings: SETTINGS,
    additionsFor: (input) => secrets.additionsFor(input),
    cleanUp: (ref) => secrets.released(ref),
  });
  return { activities, secrets, runtime, masked };
}

const give = (name: string, content: SecretContent) => client.create({ user: 'tester', name, content });
const isThere = (file: string): Promise<boolean> =>
  access(file).then(
    () => true,
    () => false,
  );
/** All that `docker inspect` shows, not only what the agent reads of it. */
const inspected = async (rank: RankExecution): Promise<string> =>
  JSON.stringify(await new Dockerode().getContainer(containerName(rank)).inspect());

describe('a run', () => {
  it('has the secrets of its user, which nobody sees in Docker, in its log, or afterwards', async () => {
    const value = `it's "quoted" $HOME \\ ünï\nand has two lines`;
    await give('api', { type: 'environment', key: 'API_KEY', value });
    await give('key', {
      type: 'ssh',
      mountPath: '/root/.keys',
      fileBase64: Buffer.from('PRIVATE-BYTES\n').toString('base64'),
    });
    const rank = aRankToRun(
      [
        `test "$API_KEY" = ${JSON.stringify(value).replace('$', '\\$').replace('\\n', '\n')}`,
        'echo "the key is $API_KEY, in base64 $(echo -n and has two lines | base64)"',
        'cat "$SECRET_PATH_KEY"',
        'stat -c "%a %U %n" "$SECRET_PATH_KEY"',
        'if touch /root/.keys/more; then exit 1; fi',
        'if cat /mnt/mcli-secrets/*.json; then exit 1; fi',
      ].join('\n'),
    );
    const { activities, runtime } = await anAgent();
    const exit: ContainerExit = await anAttempt().run(activities.execute, rank);
    const folder = runtime.folder(containerName(rank));
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    expect(await inspected(rank)).not.toMatch(/two lines|PRIVATE/);
    await anAttempt().run(activities['remove-container'], rank);
    const { text } = await shippedLog(nats.connection, rank);
    expect(exit.exitCode, text).toBe(0);
    expect(text).toContain('the key is ***\n***, in base64 ***');
    expect(text).toContain('400 root /root/.keys/secret');
    expect(text).not.toMatch(/two lines|PRIVATE|YW5kIGhhcy/);
    expect(await isThere(folder)).toBe(false);
  });

  it('is told once that a variable of its own hides a secret, also where it has integrations', async () => {
    await give('api', { type: 'environment', key: 'API_KEY', value: 'from the secret' });
    const rank = aRankToRun('echo "key: $API_KEY"', {
      envVariables: { API_KEY: 'own' },
      // Whatever comes of it: the container is started twice.
      integrations: [{ type: 'pip_packages', packages: ['/nowhere'], upgrade: false }],
    });
    const { activities } = await anAgent();
    await expect(anAttempt().run(activities.integrations, rank)).rejects.toThrow('pip');
    await anAttempt().run(activities.execute, rank);
    await anAttempt().run(activities['remove-container'], rank);
    const { text } = await shippedLog(nats.connection, rank);
    expect(text).toMatch(/^mcli: The run file sets API_KEY: the value of secret api is not used\.\n/);
    expect(text).toMatch(/key: own\n$/);
    expect(text.match(/The run file sets/g)).toHaveLength(1);
  });

  it('fails before its command when a secret of its user cannot be opened', async () => {
    await give('api', { type: 'environment', key: 'API_KEY', value: 'x' });
    await node.newKey();
    await node.dropOlderKeys();
    await node.look();
    const rank = aRankToRun('echo never');
    const { activities, secrets } = await anAgent();
    const unreadable = {
      type: 'SecretUnreadable',
      nonRetryable: true,
      message: 'Secret api cannot be opened: node test-node does not have the key that it is sealed to.',
    };
    await expect(anAttempt().run(activities.execute, rank)).rejects.toMatchObject(unreadable);
    const pull = { ...rank, image: 'bash' };
    await expect(anAttempt().run(() => secrets.authFor(pull))).rejects.toMatchObject(unreadable);
    expect(await docker.inspect(containerName(rank))).toBeUndefined();
  });

  it('goes on elsewhere, and tells against the node, when that has no key at all', async () => {
    await give('api', { type: 'environment', key: 'API_KEY', value: 'x' });
    const keyless = await aSecretNode(nats.connection, 'keyless');
    const { activities } = await anAgent([root], keyless);
    const failure = await anAttempt()
      .run(activities.execute, aRankToRun('echo never'))
      .catch((error: unknown) => error);
    expect(failure).toMatchObject({
      type: 'NodeWithoutKey',
      message: 'Secret api cannot be opened: node keyless has no key.',
    });
    expect(FAILURES.NodeWithoutKey).toMatchObject({ blame: 'system', nodeAtFault: true });
    await keyless.remove();
  });
});

describe('the log of a run', () => {
  it('is masked alike by the next agent, when the secret is deleted and the machine was restarted', async () => {
    await give('api', { type: 'environment', key: 'API_KEY', value: 'deleted-later' });
    const rank = aRankToRun(
      'echo "before $API_KEY"; until [ -e /go ]; do sleep 0.1; done; echo "after $API_KEY"',
    );
    const first = await anAgent();
    const attempt = anAttempt();
    const running = attempt.run(first.activities.execute, rank).catch((error: unknown) => error);
    await expect
      .poll(async () => (await docker.inspect(containerName(rank)))?.status, { timeout: 10_000 })
      .toBe('running');
    shutDown(attempt);
    await running;
    await client.delete('tester', 'api');
    // What a restart of the machine does to a folder in memory.
    await rm(path.join(first.runtime.folder(containerName(rank)), 'masked.json'));
    await docker.putFiles(containerName(rank), [{ path: '/go', content: '' }]);

    const second = await anAgent();
    expect(await second.secrets.maskedFor(rank)).toEqual(['deleted-later']);
    await anAttempt().run(second.activities.execute, rank);
    await anAttempt().run(second.activities['remove-container'], rank);
    expect((await shippedLog(nats.connection, rank)).text).toBe('before ***\nafter ***\n');
    expect(await second.secrets.maskedFor(rank)).toEqual([]);
  });
});

describe('what a log must not show', () => {
  const rank = aRank('true');
  const container = containerName(rank);
  /** What a crash of the agent or the machine leaves of a file. */
  const halve = async (file: string) => writeFile(file, (await readFile(file, 'utf8')).slice(0, 5));

  it('is known also where an agent was killed while it wrote it down', async () => {
    const { masked, runtime, secrets } = await anAgent();
    await runtime.make(container);
    await masked.remember(container, ['first', 'second']);
    await halve(path.join(runtime.folder(container), 'masked.json'));
    expect(await secrets.maskedFor(rank)).toEqual(['first', 'second']);
    await writeFile(path.join(node.folder, 'masked', 'mcli-lost-0-0.age.new'), 'half');
    expect((await masked.list()).map((one) => one.container).toSorted()).toEqual(
      ['mcli-lost-0-0', container].toSorted(),
    );
    for (const one of ['mcli-lost-0-0', container]) await masked.forget(one);
    expect(await masked.list()).toEqual([]);
  });

  it('is known after a rotation whose older keys were removed, as the agent has said they could be', async () => {
    const { masked, runtime, secrets } = await anAgent();
    await runtime.make(container);
    await masked.remember(container, ['value']);
    node.own.seal = () => masked.sealAgain();
    await node.newKey();
    await node.look();
    expect(node.said.at(-1)).toContain('they can be removed from its key file');
    await node.dropOlderKeys();
    await rm(path.join(runtime.folder(container), 'masked.json'));
    expect(await secrets.maskedFor(rank)).toEqual(['value']);
    await masked.forget(container);
  });
});

describe('a pull', () => {
  it('shows the registry of the image the log-in for it, and other registries none', async () => {
    const { secrets } = await anAgent();
    const login = { type: 'docker_registry', username: 'u', password: 'p' } as const;
    await give('hub', { ...login, server: 'docker.io' });
    await give('own', { ...login, server: 'localhost:5000' });
    const of = (image: string) => anAttempt().run(() => secrets.authFor({ ...aRank(''), image }));
    expect(await of('bash')).toEqual({
      secret: 'hub',
      server: 'https://index.docker.io/v1/',
      username: 'u',
      password: 'p',
    });
    expect(await of('localhost:5000/a:1')).toMatchObject({ secret: 'own', server: 'localhost:5000' });
    expect(await of('ghcr.io/a/b')).toBeUndefined();
  });
});

describe('the folder in memory', () => {
  it('is chosen where memory is, and said to be on a disk where none is', async () => {
    const warnings: string[] = [];
    const onDisk = await mkdtemp(path.join(tmpdir(), 'mcli-test-'));
    const open = (...roots: string[]) =>
      openRuntimeDir({
        roots,
        owner: 'o',
        stateDirectory: onDisk,
        warn: (message) => warnings.push(message),
      });
    const chosen = await open(path.join(onDisk, 'mcli'), path.join(root, 'mcli'));
    expect(chosen.folder('c')).toMatch(new RegExp(`^${root}/mcli/[0-9a-f]{12}/c$`));
    expect(warnings).toEqual([]);
    await open(path.join(onDisk, 'mcli'));
    expect(warnings).toEqual([expect.stringContaining(`${onDisk}/mcli is not in memory (tmpfs)`)]);
    await rm(onDisk, { recursive: true });
  });

  it('lets nobody else in, also when it was made for all', async () => {
    const open = path.join(root, 'open');
    await mkdir(open, { mode: 0o755 });
    await anAgent([open]);
    expect((await stat(open)).mode & 0o777).toBe(0o700);
  });

  it('is nowhere where a link leads that somebody has put there', async () => {
    const elsewhere = path.join(root, 'elsewhere');
    await mkdir(elsewhere, { mode: 0o755 });
    await symlink(elsewhere, path.join(root, 'link'));
    await expect(anAgent([path.join(root, 'link')])).rejects.toThrow('a link to one: remove it');
    expect((await stat(elsewhere)).mode & 0o777).toBe(0o755);
  });

  it('is cleared up where an earlier agent had it, too', async () => {
    const before = await anAgent([path.join(root, 'before')]);
    const folder = await before.runtime.make('mcli-gone-0-0');
    await writeFile(path.join(folder, 'secret'), 'plain');
    const { runtime } = await anAgent([path.join(root, 'after')]);
    expect((await runtime.list()).map(({ container }) => container)).toEqual(['mcli-gone-0-0']);
    await runtime.remove('mcli-gone-0-0');
    expect(await isThere(path.dirname(folder))).toBe(false);
  });

  it('keeps what belongs to a container, and loses what a vanished one has left', async () => {
    const { runtime, secrets } = await anAgent();
    const long = new Date(Date.now() - 3_600_000);
    const make = async (container: string, made: Date) => {
      await utimes(await runtime.make(container), made, made);
    };
    await make('mcli-gone-0-0', long);
    await make('mcli-coming-0-0', new Date());
    const rank = aRankToRun('true');
    await docker.create({ name: containerName(rank), Image: 'bash', Cmd: ['true'] });
    await make(containerName(rank), long);
    await secrets.sweep();
    const left = (await runtime.list()).map(({ container }) => container);
    expect(left.toSorted()).toEqual(['mcli-coming-0-0', containerName(rank)].toSorted());
    await runtime.remove(containerName(rank));
    await runtime.remove('mcli-coming-0-0');
    expect(await isThere(path.dirname(runtime.folder('x')))).toBe(false);
  });
});

describe('the key file of a node', () => {
  it('that is missing, wrong or open to all is said so once', async () => {
    const stranger = await aSecretNode(nats.connection, 'n');
    await stranger.identities();
    await stranger.identities();
    expect(stranger.said).toEqual([expect.stringContaining('ENOENT')]);
    await stranger.newKey();
    await chmod(stranger.keyFile, 0o644);
    expect((await stranger.identities()).recipients).toHaveLength(1);
    expect(stranger.said.at(-1)).toContain('chmod 600');
    await writeFile(stranger.keyFile, 'AGE-SECRET-KEY-1NONSENSE');
    // The last good keys stay in use: a file may be seen while it is being written.
    expect((await stranger.identities()).recipients).toHaveLength(1);
    expect(stranger.said.at(-1)).toContain('line 1 is not an age identity');
    expect(stranger.said.join()).not.toContain('NONSENSE');
    expect(await readFile(stranger.keyFile, 'utf8')).toContain('NONSENSE');
    await stranger.remove();
  });
});
