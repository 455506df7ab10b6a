import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { TestHome } from '../support/mcli.ts';
import type { PrivateServer } from '../support/private-server.ts';
import { startPrivateServer } from '../support/private-server.ts';

let server: PrivateServer;
let folder: string;
let home: TestHome;

beforeAll(async () => {
  server = await startPrivateServer();
  folder = await mkdtemp(path.join(tmpdir(), 'mcli-e2e-code-'));
  const certificate = path.join(folder, 'private-ca.pem');
  await writeFile(certificate, server.certificate);
  home = await TestHome.upWith(
    { SSL_CERT_FILE: certificate, PIP_INDEX_URL: `http://${server.http}/simple/` },
    '--cpu-slots=2',
    '--container-network=host',
  );
});
afterAll(async () => {
  await home?.down();
  await server?.dispose();
  await rm(folder, { recursive: true, force: true });
});

const runFile = (): string => `name: private
image: ${server.image}
compute: { gpus: 0 }
integrations:
- integration_type: git_repo
  git_repo: org/lib
  host: ${server.https}
  ssh_clone: false
  path: /code/lib
- integration_type: git_repo
  git_repo: org/app
  host: ${server.ssh}
  git_commit: ${server.pinnedCommit}
  pip_install: -e ".[all]"
command: |
  python3 -c 'import app, demo_lib; print(app.WHERE, demo_lib.VERSION)'
  cat /code/lib/answer.txt
`;

it('a run installs private code once its user has the secrets for it, and says until then what is missing', async () => {
  const file = await home.file('run.yaml', runFile());
  const follow = () => home.mcli('run', '-f', file);
  const createSecret = async (...args: readonly string[]): Promise<void> => {
    const { code, stderr } = await home.mcli('create', 'secret', ...args);
    expect(code, stderr).toBe(0);
  };

  const stranger = await follow();
  expect(stranger.code).toBe(1);
  expect(stranger.stderr).toContain('Integration 1 (git_repo) failed: Unable to clone git repo: org/lib');
  const advice = /mcli create secret env (GIT_TOKEN_\w+)\n/.exec(stranger.stdout)?.[1];

  await createSecret('env', String(advice), '--from-file', await home.file('token', server.token));
  const half = await follow();
  expect(half.stderr).toContain('Integration 2 (git_repo) failed: Unable to clone git repo: org/app');
  expect(half.stdout).toContain('mcli create secret git-ssh KEYFILE');

  await createSecret('git-ssh', await home.file('key', server.sshKey));
  const member = await follow();
  expect(member.code, member.stdout + member.stderr).toBe(0);
  expect(member.stdout).toMatch(/\npinned 2\.0\n42\n$/);
});
