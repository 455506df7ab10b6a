import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { PassThrough, Readable, Writable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CliContext } from '../../cli/context.ts';
import { CliError } from '../../cli/errors.ts';
import { readSecret } from '../../cli/secret-types.ts';
import type { SecretFlags } from '../../cli/secret-input.ts';
import type { SecretWord } from '../../cli/secret-types.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'mcli-test-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function file(name: string, content: string | Buffer): Promise<string> {
  const full = path.join(folder, name);
  await writeFile(full, content);
  return full;
}

interface Given {
  readonly argument?: string;
  readonly flags?: Partial<SecretFlags>;
  /** Piped in. */
  readonly stdin?: string | Buffer;
}

function aContext(stdin: Readable, interactive: boolean) {
  let said = '';
  const stderr = new Writable({
    write(chunk: Buffer, _, done) {
      said += chunk.toString();
      stderr.emit('said');
      done();
    },
  });
  const context = new CliContext({ stdin, stdout: new PassThrough(), stderr, interactive }, {});
  return { context, stderr, said: () => said };
}

/** Typing is shown by the terminal itself, unless somebody asks and hides it. */
const aKeyboard = (): PassThrough => Object.assign(new PassThrough(), { isTTY: true });

async function read(word: SecretWord, { argument, flags = {}, stdin = '' }: Given) {
  const { context, said } = aContext(Readable.from([Buffer.from(stdin)]), false);
  const { stem, content } = await readSecret(context, word, argument, { input: true, ...flags });
  return { stem, content: content('n'), said: said() };
}

async function problemOf(word: SecretWord, given: Given) {
  const error: unknown = await read(word, given).catch((caught: unknown) => caught);
  if (!(error instanceof CliError)) throw error;
  return { ...error.problems[0], exitCode: error.exitCode };
}

it('a user is who MCLI_USER says, or whose name the machine knows where that says nothing', () => {
  const { terminal } = aContext(Readable.from([]), false).context;
  expect(new CliContext(terminal, { MCLI_USER: 'ann' }).user()).toBe('ann');
  for (const env of [{}, { MCLI_USER: '' }]) {
    expect(new CliContext(terminal, env).user()).toBe(userInfo().username);
  }
});

describe('a value comes', () => {
  it('from a pipe, without the newline at its end', async () => {
    const { content, stem, said } = await read('env', { argument: 'API_KEY', stdin: 'a\nb\n' });
    expect(content).toEqual({ type: 'environment', key: 'API_KEY', value: 'a\nb' });
    expect(stem).toBe('API_KEY');
    expect(said).toBe('');
  });

  it('from a file, named or -', async () => {
    const token = await file('token', 'hf_abc\n');
    const expected = { type: 'hugging_face', token: 'hf_abc' };
    expect((await read('hf', { flags: { fromFile: token } })).content).toEqual(expected);
    expect((await read('hf', { flags: { fromFile: '-' }, stdin: 'hf_abc\n' })).content).toEqual(expected);
    expect((await read('hf', { flags: { token: '-', input: false }, stdin: 'hf_abc' })).content).toEqual(
      expected,
    );
  });

  it('from the command line, with a word about who sees it', async () => {
    const { content, said } = await read('env', { argument: 'KEY=a=b c' });
    expect(content).toEqual({ type: 'environment', key: 'KEY', value: 'a=b c' });
    expect(said).toContain('! The value was in the command line');
    expect(said).not.toContain('a=b c');
    const dash = await read('env', { argument: 'KEY=-', stdin: 'piped' });
    expect(dash.content).toEqual({ type: 'environment', key: 'KEY', value: '-' });
  });

  it('from a person, whose typing is not shown', async () => {
    const stdin = new PassThrough();
    const { context, stderr, said } = aContext(stdin, true);
    const reading = readSecret(context, 'docker', undefined, { input: true });
    const answers = [
      ['Registry [docker.io]: ', ''],
      ['User name: ', 'bob'],
      ['Password or token: ', 'hidden-password'],
    ] as const;
    for (const [question, answer] of answers) {
      while (!said().includes(question)) await once(stderr, 'said');
      stdin.write(`${answer}\r`);
    }
    expect((await reading).content('n')).toEqual({
      type: 'docker_registry',
      server: 'docker.io',
      username: 'bob',
      password: 'hidden-password',
    });
    expect(said()).toContain('bob');
    expect(said()).not.toContain('hidden');
  });

  it.each([{ token: '-' }, { fromFile: '-' }])('from a person where - is a keyboard: %j', async (flags) => {
    const stdin = aKeyboard();
    const { context, stderr, said } = aContext(stdin, true);
    const reading = readSecret(context, 'hf', undefined, { input: true, ...flags });
    while (!said().includes('Hugging Face token: ')) await once(stderr, 'said');
    stdin.write('hf_hidden\r');
    expect((await reading).content('n')).toEqual({ type: 'hugging_face', token: 'hf_hidden' });
    expect(said()).not.toContain('hidden');
  });

  it.each<[SecretWord, string | undefined, SecretFlags]>([
    ['hf', undefined, { input: false, token: '-' }],
    ['ssh', '-', { input: true }],
    ['s3', undefined, { input: true, credentialsFile: '-' }],
  ])('not from a keyboard where it would be seen: %s', async (word, argument, flags) => {
    const { context } = aContext(aKeyboard(), true);
    await expect(readSecret(context, word, argument, flags)).rejects.toThrow(/is missing|missing arguments/);
  });

  it.each(['first-secret\rsecond-secret\r', 'first-secret\nsecond', 'first-secret\r\n\r\n'])(
    'not from the first of several lines that are pasted: %j',
    async (pasted) => {
      const stdin = new PassThrough();
      const { context, stderr, said } = aContext(stdin, true);
      const reading = readSecret(context, 'env', 'KEY', { input: true });
      while (!said().includes('Value of KEY')) await once(stderr, 'said');
      stdin.write(pasted);
      await expect(reading).rejects.toThrow('Several lines were pasted, and a prompt takes one');
      expect(said()).not.toContain('secret');
    },
  );

  it('not at all from a person who leaves with Ctrl-C', async () => {
    const stdin = new PassThrough();
    const { context, stderr, said } = aContext(stdin, true);
    const reading = readSecret(context, 'wandb', undefined, { input: true });
    while (!said().includes('API key')) await once(stderr, 'said');
    stdin.write('\u0003');
    await expect(reading).rejects.toMatchObject({ exitCode: 130 });
  });
});

describe('a bad value is refused, and not repeated in the message', () => {
  const huge = 'x'.repeat(524_289);
  it.each<[string, SecretWord, Given, string, string | RegExp, number]>([
    ['none', 'env', { argument: 'K' }, 'The value of K is missing', /nothing is piped in/, 2],
    ['no name', 'env', { stdin: 'v' }, 'The name of the variable is missing', /this is no terminal$/, 2],
    [
      'none with --no-input',
      'docker',
      { flags: { input: false, username: 'u' }, stdin: 'x' },
      'Found missing arguments when using --no-input',
      '--password is missing',
      2,
    ],
    ['two', 'hf', { flags: { token: 'hf_a', fromFile: 'f' } }, 'Two values for one secret', /both/, 2],
    ['an empty one', 'env', { argument: 'K=' }, 'The value of K is empty', /^$/, 1],
    ['a huge one', 'env', { argument: 'K', stdin: huge }, 'too large for a secret', /more than 524288/, 1],
    [
      'one that is too long for a variable',
      'env',
      { argument: 'K', stdin: 'x'.repeat(131_070) },
      'too long for an environment variable',
      /131071 bytes with the name; this has 131072/,
      1,
    ],
    ['a binary one', 'env', { argument: 'K', stdin: Buffer.from([255, 254]) }, 'is binary', /UTF-8/, 1],
    ['one with NUL', 'env', { argument: 'K', stdin: 'a\0b' }, 'is binary', /NUL/, 1],
    ['a bad name', 'env', { argument: '1K=v-secret' }, 'must be specified like KEY=VALUE', /Got: 1K=…$/, 2],
    ['one that bash sets', 'env', { argument: 'UID=v-secret' }, 'KEY=VALUE', /bash sets it.* Got: UID=…$/, 2],
    ['a foreign token', 'hf', { stdin: 'sk-secret' }, 'not a token of Hugging Face', /hf_/, 1],
    ['two words', 'wandb', { stdin: 'my key' }, 'is not one word', /white space/, 1],
    ['a missing file', 'mounted', { argument: '/no/such' }, 'File /no/such not found', /^$/, 1],
    ['a folder', 'mounted', { argument: '/tmp' }, '/tmp is a folder', /^$/, 1],
    [
      'a relative folder',
      'mounted',
      { argument: '-', stdin: 'x', flags: { mountPath: 'a' } },
      'cannot be a folder for a secret',
      'it must begin with /',
      2,
    ],
    ['a registry that is none', 'docker', { flags: { server: 'a b' } }, 'not a registry', /^$/, 1],
    ['no JSON', 'gcp', { stdin: 'x' }, 'not a credentials file of Google Cloud', /JSON/, 1],
    ['no key', 'ssh', { stdin: 'x' }, 'This is not a private key', /BEGIN/, 1],
    ['a public key', 'git-ssh', { stdin: 'ssh-ed25519 AAAA me' }, 'This is a public key', /private/, 1],
  ])('%s', async (_, word, given, message, why, exitCode) => {
    const problem = await problemOf(word, given);
    expect(problem.message).toContain(message);
    expect(problem.why ?? '').toMatch(why);
    expect(problem.fix).toBeTruthy();
    expect(problem.exitCode).toBe(exitCode);
    expect(JSON.stringify(problem)).not.toMatch(/secret\b.*-secret|sk-secret|v-secret|my key/);
  });
});

describe('private keys', () => {
  const pem = (type: 'pkcs1' | 'pkcs8', passphrase?: string): string => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 1024 });
    const locked = passphrase === undefined ? {} : { cipher: 'aes-128-cbc', passphrase };
    return privateKey.export({ type, format: 'pem', ...locked }).toString();
  };
  /** The beginning of what `ssh-keygen` writes, which says how the rest is locked. */
  const openssh = (cipher: string): string => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(cipher.length);
    const body = Buffer.concat([Buffer.from('openssh-key-v1\0'), length, Buffer.from(cipher.padEnd(80))]);
    return `-----BEGIN OPENSSH PRIVATE KEY-----\n${body.toString('base64')}\n-----END OPENSSH PRIVATE KEY-----\n`;
  };

  it('end with a newline, whatever editor they went through', async () => {
    const text = openssh('none');
    const { content, stem } = await read('git-ssh', { argument: await file('id_ed25519', text) });
    expect(Buffer.from((content as { fileBase64: string }).fileBase64, 'base64').toString()).toBe(text);
    expect(stem).toBe('id_ed25519');
    const { content: mended } = await read('ssh', { stdin: text.trimEnd().replaceAll('\n', '\r\n') });
    expect(mended).toEqual({ ...content, type: 'ssh' });
    expect((await read('ssh', { stdin: pem('pkcs1') })).content.type).toBe('ssh');
    expect((await read('ssh', { stdin: pem('pkcs8') })).content.type).toBe('ssh');
  });

  it.each([
    ['OpenSSH', openssh('aes256-ctr')],
    ['PEM', pem('pkcs1', 'geheim')],
    ['PKCS8', pem('pkcs8', 'geheim')],
  ])('with a passphrase are refused, since nobody could type it: %s', async (_, stdin) => {
    expect((await problemOf('ssh', { stdin })).message).toBe('This private key has a passphrase');
  });

  it('for SFTP come with the keys of the host, or with the word that none are checked', async () => {
    const key = await file('key', openssh('none'));
    const hosts = await file('known_hosts', 'host ssh-rsa A\n');
    const mountPath = '/secrets/n';
    expect((await read('sftp-ssh', { argument: key, flags: { knownHosts: hosts } })).content).toMatchObject({
      type: 'sftp',
      mountPath,
      knownHosts: 'host ssh-rsa A\n',
    });
    const unchecked = await read('sftp-ssh', { argument: key, flags: { hostCheck: false } });
    expect(unchecked.content).not.toHaveProperty('knownHosts');
    expect((await problemOf('sftp-ssh', { argument: key })).message).toBe(
      'The host name of the SFTP server is missing',
    );
    expect((await problemOf('sftp-ssh', { argument: key, flags: { hostName: '-x' } })).why).toBe(
      'this is not a host name',
    );
  });
});

describe('credentials of clouds', () => {
  it('for S3 bring a profile where there is no default', async () => {
    const both = await file('both', '[default]\na=1\n[work]\na=2\n');
    const work = await file('work', '[work]\na=2\n');
    const several = await file('several', '[a]\n[b]\n');
    const s3 = (credentialsFile: string, profile?: string) => ({
      flags: { credentialsFile, configFile: work, ...(profile === undefined ? {} : { profile }) },
    });
    expect((await read('s3', s3(both))).content).not.toHaveProperty('profile');
    expect((await read('s3', s3(both, 'work'))).content).toMatchObject({ profile: 'work' });
    expect((await read('s3', s3(work))).content).toMatchObject({ profile: 'work', config: '[work]\na=2\n' });
    expect((await problemOf('s3', s3(several))).message).toBe('The profile (a, b) is missing');
    expect((await problemOf('s3', s3(work, 'x'))).message).toContain('has no profile x');
    const empty = await file('no-section', 'a=1');
    expect((await problemOf('s3', s3(empty))).message).toContain('has no credentials in it');
  });

  it('come from a pipe, too', async () => {
    const s3 = await read('s3', {
      flags: { credentialsFile: '-', configFile: await file('config', '[work]\n') },
      stdin: '[work]\na=2\n',
    });
    expect(s3.content).toMatchObject({ credentials: '[work]\na=2\n', profile: 'work' });
  });

  it('for OCI take the key that the config file names', async () => {
    const key = await file('oci.pem', 'PEM');
    const named = await file('oci-named', `[DEFAULT]\nuser=u\nkey_file=${key}\n`);
    const unnamed = await file('oci-unnamed', '[DEFAULT]\nuser=u\n');
    expect((await read('oci', { flags: { configFile: named } })).content).toMatchObject({ keyFile: 'PEM' });
    expect((await read('oci', { flags: { configFile: unnamed, keyFile: key } })).content).toMatchObject({
      config: '[DEFAULT]\nkey_file=\nuser=u\n',
      keyFile: 'PEM',
    });
    const several = await file('oci-several', `# mine\n[DEFAULT]\nkey_file=${key}\n\n[other]\nuser=u`);
    expect((await read('oci', { flags: { configFile: several } })).content).toMatchObject({
      config: `# mine\n[DEFAULT]\nkey_file=${key}\n\n[other]\nkey_file=\nuser=u`,
    });
    const none = await file('oci-none', 'user=u\n');
    expect(await problemOf('oci', { flags: { configFile: none, keyFile: key } })).toMatchObject({
      message: expect.stringContaining('is no config file of OCI'),
      why: 'there is no section like [DEFAULT]',
    });
  });

  it('for Databricks make an address of the host', async () => {
    const { content } = await read('databricks', { flags: { host: 'dbc.example' }, stdin: 'dapi1' });
    expect(content).toEqual({ type: 'databricks', host: 'https://dbc.example', token: 'dapi1' });
  });
});
