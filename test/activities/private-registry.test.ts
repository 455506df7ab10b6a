import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { networkInterfaces, tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { PulledImage } from '../../activities/contract.ts';
import { createImageActivities } from '../../activities/image.ts';
import { createRunSecrets } from '../../activities/run-secrets.ts';
import type { Secret } from '../../core/secret.ts';
import { anAttempt, aRank, docker } from '../support/docker.ts';
import type { TestRegistry } from '../support/registry.ts';
import { pushImage, removeImages, startRegistry } from '../support/registry.ts';

/** Passwords in bcrypt. */
const FIRST = { username: 'first', password: 'pass' };
const FIRST_HTPASSWD = 'first:$2y$05$vnobXXfZFZfw5c53S9Oo9uU79MeWn603XvgYTz6OIAJn/KZ4zUnXW\n';
const SECOND = { username: 'second', password: 'other-pass' };
const SECOND_HTPASSWD = 'second:$2b$05$DuZmQEP62ZbLIqk4nWyUiO6r.Hw6fQzGnNRuZMCVm29/LlrDmQFv2\n';

let folder: string;
let plain: TestRegistry;
/** With a certificate of its own making. */
let secured: TestRegistry;
let images: { readonly plain: string; readonly secured: string };

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'mcli-test-registries-'));
  const host = addressOfThisMachine();
  const [certificate, key] = [path.join(folder, 'tls.crt'), path.join(folder, 'tls.key')];
  await makeCertificate(host, certificate, key);
  plain = await startRegistry(FIRST_HTPASSWD);
  secured = await startRegistry(SECOND_HTPASSWD, { host, certificate, key });
  images = { plain: `${plain.address}/team/a:1`, secured: `${secured.address}/team/b:1` };
  await pushImage(images.plain, 1000, undefined, FIRST);
  await trust(true);
  await pushImage(images.secured, 1000, undefined, SECOND);
});
afterAll(async () => {
  await trust(false);
  await Promise.all([plain.dispose(), secured.dispose()]);
  await removeImages(Object.values(images));
  await rm(folder, { recursive: true, force: true });
});

/** Docker takes any certificate of a registry on loopback. */
function addressOfThisMachine(): string {
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const found = own.find(({ family, internal }) => family === 'IPv4' && !internal);
  if (found === undefined) throw new Error('This test needs a network interface beside the one of loopback.');
  return found.address;
}

async function makeCertificate(host: string, certificate: string, key: string): Promise<void> {
  const name = ['-subj', '/CN=registry', '-addext', `subjectAltName=IP:${host}`];
  const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', ...name];
  await promisify(execFile)('openssl', [...request, '-out', certificate, '-keyout', key]);
}

/** What an operator does for all runs of a node; the daemon looks there at every pull. */
async function trust(trusted: boolean): Promise<void> {
  const place = `/etc/docker/certs.d/${secured.address}`;
  await rm(place, { recursive: true, force: true });
  if (!trusted) return;
  await mkdir(place, { recursive: true });
  await promisify(execFile)('cp', [path.join(folder, 'tls.crt'), `${place}/ca.crt`]);
}

const dockerSecret = (name: string, server: string, login: typeof FIRST): Secret => ({
  name,
  content: { type: 'docker_registry', server, ...login },
});

async function pull(image: string, secrets: readonly Secret[]): Promise<PulledImage> {
  const unused = {} as never;
  const store = { openFor: async () => secrets };
  const runSecrets = createRunSecrets({ store, runtime: unused, masked: unused, docker });
  const authFor: typeof runSecrets.authFor = (input) => runSecrets.authFor(input);
  const activities = createImageActivities({ docker, authFor, allowLocalImages: false, pullIdleMs: 30_000 });
  return await anAttempt().run(activities['pull-image'], { ...aRank(''), image });
}

it('each registry is shown the secret that is for it', async () => {
  const secrets = [
    dockerSecret('a-hub', 'docker.io', { username: 'hub', password: 'hub-pass' }),
    dockerSecret('b-first', plain.address, FIRST),
    dockerSecret('c-second', secured.address, SECOND),
  ];
  expect((await pull(images.plain, secrets)).imageId).toMatch(/^sha256:/);
  expect((await pull(images.secured, secrets)).imageId).toMatch(/^sha256:/);
});

it('a secret is not shown to another registry', async () => {
  await expect(pull(images.secured, [dockerSecret('first', plain.address, FIRST)])).rejects.toMatchObject({
    type: 'ImageUnauthorized',
    message: expect.stringContaining(`tester has no docker secret for ${secured.address}`),
  });
});

it('a wrong password is told with the name of its secret', async () => {
  const secrets = [dockerSecret('second', secured.address, { ...SECOND, password: 'wrong' })];
  await expect(pull(images.secured, secrets)).rejects.toMatchObject({
    type: 'ImageUnauthorized',
    message: expect.stringContaining(`Secret second for ${secured.address} was tried`),
  });
});

it('a certificate that the node does not trust is told, and trusted without a restart of Docker', async () => {
  const secrets = [dockerSecret('second', secured.address, SECOND)];
  await trust(false);
  await expect(pull(images.secured, secrets)).rejects.toMatchObject({
    type: 'RegistryTls',
    message: expect.stringContaining('x509: certificate signed by unknown authority'),
  });
  await trust(true);
  expect((await pull(images.secured, secrets)).imageId).toMatch(/^sha256:/);
});
