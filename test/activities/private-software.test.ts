import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ContainerAdditions, NodeSettings } from '../../activities/container-config.ts';
import { joinAdditions, NO_ADDITIONS } from '../../activities/container-config.ts';
import { createMaskedValues } from '../../activities/masked-values.ts';
import { createRunSecrets } from '../../activities/run-secrets.ts';
import type { RuntimeDir } from '../../activities/runtime-dir.ts';
import { openRuntimeDir } from '../../activities/runtime-dir.ts';
import type { RunFailure } from '../../core/failures.ts';
import type { GitRepoIntegration, Integration } from '../../core/run-spec.ts';
import type { Secret } from '../../core/secret.ts';
import { aLogShipper, anAgent, anAttempt, aRank, docker, shippedLog } from '../support/docker.ts';
import { useNats } from '../support/nats.ts';
import type { PrivateServer } from '../support/private-server.ts';
import { startPrivateServer } from '../support/private-server.ts';
import { buildFrom, removeImages } from '../support/registry.ts';

const nats = useNats();
let server: PrivateServer;
let runtime: RuntimeDir;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'mcli-test-software-'));
  runtime = await openRuntimeDir({
    roots: [path.join(folder, 'runtime')],
    stateDirectory: folder,
    owner: 'test',
    warn: () => undefined,
  });
  server = await startPrivateServer();
});
afterAll(async () => {
  await server.dispose();
  await rm(folder, { recursive: true, force: true });
});

interface Circumstances {
  readonly image?: string;
  readonly secrets?: readonly Secret[];
  /** Of the node. */
  readonly settings?: Partial<NodeSettings>;
  readonly additions?: ContainerAdditions;
}

interface Outcome {
  readonly log: string;
  readonly failure: RunFailure | undefined;
}

/** Carries out the integrations, then the command, of a run whose node is on the network of the private server. */
async function carryOut(
  integrations: readonly Integration[],
  command: string,
  { image = server.image, secrets = [], settings = {}, additions = NO_ADDITIONS }: Circumstances = {},
): Promise<Outcome> {
  const rank = aRank(command, { image, integrations });
  const identities = async () => ({ identities: [], recipients: [] });
  const masked = createMaskedValues({ runtime, identities, stateDirectory: folder });
  const store = { openFor: async () => secrets };
  const runSecrets = createRunSecrets({ store, runtime, masked, docker });
  const agent = anAgent(
    nats.connection,
    { containerNetwork: 'host', ...settings },
    {
      logs: aLogShipper(nats.connection, { secretsOf: (ref) => runSecrets.maskedFor(ref) }),
      additionsFor: async (input) => joinAdditions(await runSecrets.additionsFor(input), additions),
      cleanUp: (ref) => runSecrets.released(ref),
    },
  );
  let failure: RunFailure | undefined;
  try {
    await anAttempt().run(agent.integrations, rank);
    await anAttempt().run(agent.execute, rank);
  } catch (error) {
    [failure] = (error as { details?: [RunFailure] }).details ?? [];
    if (failure === undefined) throw error;
  } finally {
    await anAttempt().run(agent['remove-container'], rank);
  }
  const { text } = await shippedLog(nats.connection, rank);
  return { log: text, failure };
}

const variable = (key: string, value: string): Secret => ({
  name: key.toLowerCase().replaceAll('_', '-'),
  content: { type: 'environment', key, value },
});

/** The variable that holds the token of a host. */
const tokenOf = (host: string): string => `GIT_TOKEN_${host.replaceAll(':', '___').replaceAll('.', '_')}`;

const gitKey = (): Secret => ({
  name: 'git-key',
  content: { type: 'git', mountPath: '/secrets/git-key', fileBase64: btoa(server.sshKey) },
});

const repo = (more: Partial<GitRepoIntegration>): GitRepoIntegration => ({
  type: 'git_repo',
  gitRepo: 'org/app',
  sshClone: true,
  host: server.ssh,
  recursive: false,
  ...more,
});

/** A node whose containers trust the certificate of the private server. */
const trusting = (): Partial<NodeSettings> => ({ caBundle: server.certificate });

describe('a private repository over ssh', () => {
  it('is cloned with the git-ssh secret, at a branch or a commit, with its submodules, and installed', async () => {
    const { log, failure } = await carryOut(
      [
        repo({ gitBranch: 'dev', path: '/srv/dev', pipInstall: '-e ".[gpu]"' }),
        repo({
          gitCommit: server.pinnedCommit,
          gitBranch: 'gone',
          recursive: true,
          pipInstall: '-r requirements.txt',
        }),
      ],
      `cat /srv/dev/app.py app/app.py app/vendor/lib/answer.txt
      cd /srv/dev && git pull --quiet && cd / && python3 -c 'import app, demo_gpu, demo_lib; print(app.__file__, demo_lib.VERSION)'`,
      { secrets: [gitKey()], settings: { containerEnv: { PIP_INDEX_URL: `http://${server.http}/simple/` } } },
    );
    expect(failure, log).toBeUndefined();
    expect(log).toContain('WHERE = "dev"\nWHERE = "pinned"\n42\n/srv/dev/app.py 2.0\n');
    expect(log).toMatch(
      /^\[mcli\] integration 1\/2 \(git_repo\): git clone -b dev -- ssh:\/\/git@127\.0\.0\.1:\d+\/org\/app\.git \/srv\/dev$/m,
    );
    expect(log).toContain("[mcli] integration 1/2 (git_repo): (cd /srv/dev && pip install -e '.[gpu]')\n");
    expect(log).toMatch(/^\[mcli\] integration 1\/2 \(git_repo\): done in \d+ s$/m);
    expect(log).toMatch(/^\[mcli\] integration 2\/2 \(git_repo\): done in \d+ s$/m);
  });

  it('is cloned by the user of an image that is not root, too', async () => {
    const image = 'mcli-tests/not-root:1';
    await buildFrom(server.image, image, 'USER git');
    const { log, failure } = await carryOut([repo({ path: '/tmp/app' })], 'id -un; cat /tmp/app/app.py', {
      image,
      secrets: [gitKey()],
    });
    await removeImages([image]);
    expect(failure, log).toBeUndefined();
    expect(log).toContain('git\nWHERE = "main"\n');
  });

  it('is refused without the secret, and the log says which one helps', async () => {
    const { log, failure } = await carryOut([repo({})], 'echo never');
    expect(failure).toMatchObject({
      type: 'IntegrationFailed',
      message: 'Integration 1 (git_repo) failed: Unable to clone git repo: org/app',
    });
    expect(log).toContain('Permission denied (publickey)');
    expect(log).toMatch(
      /integration 1\/1 \(git_repo\) failed after \d+ s: Unable to clone git repo: org\/app\n/,
    );
    expect(log).toContain('mcli create secret git-ssh KEYFILE');
    expect(log).not.toContain('never');
  });

  it('says that a commit is not there', async () => {
    const { log, failure } = await carryOut([repo({ gitCommit: 'deadbeef' })], 'true', {
      secrets: [gitKey()],
    });
    expect(failure?.message).toBe('Integration 1 (git_repo) failed: Unable to clone git repo: org/app');
    expect(log).toContain("pathspec 'deadbeef' did not match");
    expect(log).not.toContain('mcli create secret');
  });
});

describe('a private repository over https', () => {
  it('is cloned with the token of its host, which is seen nowhere', async () => {
    const { log, failure } = await carryOut(
      [
        repo({ host: server.https, sshClone: false, recursive: true, pipInstall: '.[all] --no-deps' }),
        // pip starts git, which asks for the token as before.
        { type: 'pip_packages', packages: [`lib @ git+https://${server.https}/org/lib.git`], upgrade: false },
      ],
      `cat app/app.py app/vendor/lib/answer.txt; cat app/.git/config; echo "token is $${tokenOf(server.https)}"
      git -C app fetch --quiet && echo fetched`,
      { secrets: [variable(tokenOf(server.https), server.token)], settings: trusting() },
    );
    expect(failure, log).toBeUndefined();
    expect(log).toContain('WHERE = "main"\n42\n');
    expect(log).toContain(`url = https://${server.https}/org/app.git\n`);
    expect(log).toMatch(/^Successfully installed lib-1\.0$/m);
    expect(log).toContain('token is ***\nfetched\n');
    expect(log).not.toContain(server.token);
  });

  it('is refused without a token, with the name of the secret that helps', async () => {
    const { log, failure } = await carryOut([repo({ host: server.https, sshClone: false })], 'true', {
      secrets: [variable('GIT_TOKEN_GIT_EXAMPLE', server.token)],
      settings: trusting(),
    });
    expect(failure?.message).toBe('Integration 1 (git_repo) failed: Unable to clone git repo: org/app');
    expect(log).toContain(
      `[mcli] ${server.https} asks for a token, and there is none: mcli create secret env ${tokenOf(server.https)}\n`,
    );
  });

  it('is refused with a wrong token, and where the certificate is not trusted', async () => {
    const integrations = [repo({ host: server.https, sshClone: false })];
    const [wrong, untrusted] = await Promise.all([
      carryOut(integrations, 'true', {
        secrets: [variable(tokenOf(server.https), 'wrong-token')],
        settings: trusting(),
      }),
      carryOut(integrations, 'true', { secrets: [variable(tokenOf(server.https), server.token)] }),
    ]);
    expect(wrong.log).toContain('Authentication failed for');
    expect(untrusted.log).toContain('server certificate verification failed');
  });
});

describe('Python packages', () => {
  it('come from the index and through the proxy of the node, with versions, extras and upgrades as asked', async () => {
    const { log, failure } = await carryOut(
      [
        { type: 'pip_packages', packages: ['demo-lib[fast]==1.0', 'poetry==1.7.1'], upgrade: false },
        { type: 'pip_packages', packages: ['demo-lib>=1.5,<2'], upgrade: false },
        { type: 'wandb', environment: { WANDB_PROJECT: 'p' } },
        { type: 'pip_packages', packages: ['demo-lib'], upgrade: true },
      ],
      `python3 -c 'import demo_lib, demo_gpu, poetry; print(demo_lib.VERSION, demo_gpu.VERSION, poetry.VERSION)'
      ls / | grep = || echo 'no file of a redirection'`,
      {
        settings: {
          containerEnv: {
            // Only the proxy knows the host: lighttpd serves what it is asked for under any name.
            http_proxy: `http://${server.http}`,
            PIP_INDEX_URL: 'http://packages.invalid/simple/',
            PIP_TRUSTED_HOST: 'packages.invalid',
          },
        },
      },
    );
    expect(failure, log).toBeUndefined();
    expect(log).toContain('Successfully installed demo-gpu-1.0 demo-lib-1.0 poetry-1.7.1\n');
    expect(log).toContain('Successfully installed demo-lib-1.5\n');
    expect(log).toContain('2.0 1.0 1.7.1\nno file of a redirection\n');
    expect(log).toContain('[mcli] integration 3/4 (wandb): its environment variables are set\n');
    expect(log).toMatch(/^\[mcli\] integration 4\/4 \(pip_packages\): done in \d+ s$/m);
  });

  it('of an index for members need its secret', async () => {
    const secrets = [
      variable('PIP_EXTRA_INDEX_URL', `https://x-access-token:${server.token}@${server.https}/members/`),
    ];
    const integrations = [{ type: 'pip_packages', packages: ['secret-lib'], upgrade: false } as const];
    const settings = { ...trusting(), containerEnv: { PIP_INDEX_URL: `http://${server.http}/simple/` } };
    const [member, stranger] = await Promise.all([
      carryOut(integrations, 'pip list 2>/dev/null | grep secret; echo $PIP_EXTRA_INDEX_URL', {
        secrets,
        settings,
      }),
      carryOut(integrations, 'true', { settings }),
    ]);
    expect(member.failure, member.log).toBeUndefined();
    expect(member.log).toMatch(/^secret-lib +1\.0$/m);
    expect(member.log).not.toContain(server.token);
    expect(stranger.failure?.message).toBe(
      'Integration 1 (pip_packages) failed: Failed to pip install packages: secret-lib',
    );
    expect(stranger.log).toContain('No matching distribution found for secret-lib');
  });
});

describe('Debian packages', () => {
  it('come from the repositories of the image, and the one that is missing is named', async () => {
    const source = path.join(folder, 'sources.list');
    await writeFile(source, `deb [trusted=yes] http://${server.http}/apt ./\n`);
    const additions = {
      mounts: [{ source, target: '/etc/apt/sources.list', readOnly: true }],
      environment: {},
    };
    const { log, failure } = await carryOut(
      [
        { type: 'apt_packages', packages: ['demo-tool=1.*'] },
        { type: 'apt_packages', packages: ['no-such-tool'] },
      ],
      'true',
      { additions },
    );
    expect(log).toContain('Setting up demo-tool (1.2)');
    expect(log).toContain('Unable to locate package no-such-tool');
    expect(failure?.message).toBe(
      'Integration 2 (apt_packages) failed: Failed to apt install packages: no-such-tool',
    );
  });
});
