import { describe, expect, it } from 'vitest';
import { mountPathFault } from '../../core/mount-path.ts';
import {
  nodeKey,
  parseStoredSecret,
  secretKey,
  secretNameFault,
  secretNameStem,
  summaryOf,
} from '../../core/secret.ts';
import type { Secret, SecretContent } from '../../core/secret.ts';
import { deliverSecrets, describeSecret } from '../../core/secret-delivery.ts';
import { secretFault } from '../../core/secret-fault.ts';
import { registryCredentials, registryHost, registryOfImage } from '../../core/secret-registry.ts';
import { createSecretMask } from '../../core/secret-mask.ts';
import { secretBytes, secretSize, sizeFault } from '../../core/secret-size.ts';
import { secretTexts } from '../../core/secret-texts.ts';
import { newIdentityText, parseIdentities, seal, unseal } from '../../core/secret-seal.ts';

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const named = (name: string, content: SecretContent): Secret => ({ name, content });
const variable = (key: string, value: string, name = key.toLowerCase()): Secret =>
  named(name, { type: 'environment', key, value });

/** Delivery in a form that shows at a glance. */
function delivered(secrets: readonly Secret[], own: Record<string, string> = {}) {
  const { environment, folders, notices } = deliverSecrets(secrets, own);
  const files = folders.flatMap(({ mountPath, files: inside }) =>
    inside.map(({ name, mode, bytes }) => [
      `${mountPath}/${name}`,
      mode.toString(8),
      Buffer.from(bytes).toString(),
    ]),
  );
  return { environment, files, notices };
}

describe('each type brings what its users expect', () => {
  const folder = { mountPath: '/secrets/n' };
  it.each<[SecretContent, Record<string, string>, string[][]]>([
    [{ type: 'environment', key: 'KEY', value: 'v w' }, { KEY: 'v w' }, []],
    [
      { type: 'mounted', mountPath: '/data//x/', fileBase64: base64('text') },
      { SECRET_PATH_N: '/data/x/secret' },
      [['/data/x/secret', '644', 'text']],
    ],
    [
      { type: 'ssh', ...folder, fileBase64: base64('key') },
      { SECRET_PATH_N: '/secrets/n/secret' },
      [['/secrets/n/secret', '400', 'key']],
    ],
    [
      { type: 'git', ...folder, fileBase64: base64('key') },
      {
        SECRET_PATH_N: '/secrets/n/secret',
        GIT_SSH_COMMAND: 'ssh -o StrictHostKeyChecking=no -i /secrets/n/secret',
      },
      [['/secrets/n/secret', '400', 'key']],
    ],
    [
      { type: 'sftp', ...folder, fileBase64: base64('key'), knownHosts: 'host ssh-rsa A\n' },
      {
        COMPOSER_SFTP_KEY_FILE: '/secrets/n/secret',
        COMPOSER_SFTP_KNOWN_HOSTS_FILE: '/secrets/n/composer_sftp_known_hosts',
      },
      [
        ['/secrets/n/secret', '400', 'key'],
        ['/secrets/n/composer_sftp_known_hosts', '644', 'host ssh-rsa A\n'],
      ],
    ],
    [
      { type: 's3', ...folder, config: '[default]\n', credentials: '[work]\n', profile: 'work' },
      {
        AWS_CONFIG_FILE: '/secrets/n/config',
        AWS_SHARED_CREDENTIALS_FILE: '/secrets/n/credentials',
        AWS_PROFILE: 'work',
      },
      [
        ['/secrets/n/config', '644', '[default]\n'],
        ['/secrets/n/credentials', '644', '[work]\n'],
      ],
    ],
    [
      { type: 'gcp', ...folder, fileBase64: base64('{}') },
      { GOOGLE_APPLICATION_CREDENTIALS: '/secrets/n/secret' },
      [['/secrets/n/secret', '644', '{}']],
    ],
    [
      { type: 'oci', ...folder, config: '[DEFAULT]\nkey_file = ~/.oci/k.pem\nuser=u\n', keyFile: 'pem' },
      {
        OCI_CONFIG_FILE: '/secrets/n/config',
        OCI_CLI_CONFIG_FILE: '/secrets/n/config',
        OCI_CLI_KEY_FILE: '/secrets/n/key_file',
      },
      [
        ['/secrets/n/config', '400', '[DEFAULT]\nkey_file =/secrets/n/key_file\nuser=u\n'],
        ['/secrets/n/key_file', '400', 'pem'],
      ],
    ],
    [
      { type: 'databricks', host: 'https://h', token: 't' },
      { DATABRICKS_HOST: 'https://h', DATABRICKS_TOKEN: 't' },
      [],
    ],
    [{ type: 'hugging_face', token: 'hf_x' }, { HF_TOKEN: 'hf_x', HUGGING_FACE_HUB_TOKEN: 'hf_x' }, []],
    [{ type: 'wandb', apiKey: 'k' }, { WANDB_API_KEY: 'k' }, []],
    [{ type: 'docker_registry', server: 'ghcr.io', username: 'u', password: 'p' }, {}, []],
  ])('%o', (content, environment, files) => {
    expect(delivered([named('n', content)])).toEqual({ environment, files, notices: [] });
    expect(describeSecret(named('n', content)).variables).toEqual(Object.keys(environment));
  });

  it('names the variable of a file after the secret', () => {
    const secret = named('my-key.v2', { type: 'mounted', mountPath: '/m', fileBase64: '' });
    expect(describeSecret(secret)).toEqual({ variables: ['SECRET_PATH_MY_KEY_V2'], mountPath: '/m' });
  });
});

describe('of two values for one variable', () => {
  it("the run file's wins, and the log says so", () => {
    expect(delivered([variable('A', 'secret'), variable('B', 'b')], { A: 'own' })).toEqual({
      environment: { B: 'b' },
      files: [],
      notices: ['The run file sets A: the value of secret a is not used.'],
    });
  });

  it('the first secret by name wins, whatever the order of the list, and the log says so', () => {
    const [first, second] = [variable('A', '1', 'one'), variable('A', '2', 'two')];
    for (const order of [
      [first, second],
      [second, first],
    ]) {
      expect(delivered(order)).toEqual({
        environment: { A: '1' },
        files: [],
        notices: ['A of secret two is left out: another secret sets it already.'],
      });
    }
  });

  it('the same holds for folders, of which none may be inside another', () => {
    const at = (name: string, mountPath: string): Secret =>
      named(name, { type: 'mounted', mountPath, fileBase64: base64(name) });
    const { files, notices } = delivered([at('a', '/m'), at('b', '/m/deep'), at('c', '/more')]);
    expect(files.map(([path]) => path)).toEqual(['/m/secret', '/more/secret']);
    expect(notices).toEqual(['Secret b is left out: another secret is mounted at /m already.']);
  });
});

describe('what has to be masked', () => {
  it.each<[string, SecretContent, readonly string[]]>([
    ['a variable', { type: 'environment', key: 'K', value: 'value' }, ['value']],
    ...['https://mlflow.example:5000/ml', 'databricks'].map(
      (value): [string, SecretContent, readonly string[]] => [
        `no address of a tracker: ${value}`,
        { type: 'environment', key: 'MLFLOW_TRACKING_URI', value },
        [],
      ],
    ),
    ...[['https://me:pw@m.example', 'pw'], ['https://m.example/?token=x', 'x'], ['postgresql://db/m']].map(
      (texts): [string, SecretContent, readonly string[]] => [
        `an address with more in it: ${texts[0]}`,
        { type: 'environment', key: 'MLFLOW_TRACKING_URI', value: texts[0] ?? '' },
        texts,
      ],
    ),
    [
      'an address under any other name, which may be one that lets in',
      { type: 'environment', key: 'HOOK', value: 'https://hooks.example/T0/B0/x' },
      ['https://hooks.example/T0/B0/x'],
    ],
    [
      'a password, not the user name',
      { type: 'docker_registry', server: 'r', username: 'user', password: 'pass' },
      ['pass'],
    ],
    [
      'the secrets of a credentials file, not its headings',
      { type: 's3', mountPath: '/m', credentials: '[default]\naws_secret_access_key = abc\nregion=eu\n' },
      ['abc'],
    ],
    [
      'a JSON file, and the secrets in it alone',
      {
        type: 'gcp',
        mountPath: '/m',
        fileBase64: base64('{"type": "t", "private_key": "a\\nb", "nested": [{"token": "c"}]}'),
      },
      ['{"type": "t", "private_key": "a\\nb", "nested": [{"token": "c"}]}', 'a\nb', 'c'],
    ],
    [
      'a binary file in base64',
      { type: 'mounted', mountPath: '/m', fileBase64: '/////w==' },
      ['data:;base64,/////w=='],
    ],
    [
      'the password in an address, which is sent alone',
      { type: 'environment', key: 'K', value: 'https://user:s%21cret@pypi.example/simple/' },
      ['https://user:s%21cret@pypi.example/simple/', 's%21cret', 's!cret'],
    ],
    [
      'a token in an address',
      { type: 'environment', key: 'K', value: 'https://ghp_token@github.com https://tok_en:x-oauth-basic@h' },
      ['https://ghp_token@github.com https://tok_en:x-oauth-basic@h', 'ghp_token', 'tok_en'],
    ],
  ])('%s', (_, content, texts) => {
    expect(secretTexts(named('n', content))).toEqual(texts);
  });

  const file = (content: string | Buffer): readonly string[] =>
    secretTexts(
      named('n', {
        type: 'mounted',
        mountPath: '/m',
        fileBase64: Buffer.from(content).toString('base64'),
      }),
    );

  it.each([
    ['a shell', 'export API_TOKEN="tok-en-1"\nDB_PASSWORD=\'tok-en-2\'\nPLAIN_TOKEN=tok-en-3 # comment\n', 3],
    ['YAML', 'hub:\n  token: "tok-en-1"\n  - api_key: tok-en-2\n  password: \'tok-en-3\'\n', 3],
    ['TOML', '[x]\ntoken = "tok-en-1"\nlogins = [{ user = "u", password = "tok-en-2" }]\n', 2],
    ['JSON with comments', '{ // mine\n  "accessToken": "tok-en-1",\n  "secret" : "tok-en-2" }\n', 2],
    ['a list of variables', 'Server=db;Password=tok-en-1;Timeout=3\nhttps://h/?key=tok-en-2&x=1\n', 2],
    [
      '.netrc',
      'machine api.wandb.ai\n  login user\n  password tok-en-1\nmachine g login me password tok-en-2',
      2,
    ],
    ['git credentials', 'https://me:tok-en-1@git.example\n', 1],
  ])('of %s: the values alone', (_, text, count) => {
    const mask = createSecretMask(file(text));
    for (let one = 1; one <= count; one += 1) {
      expect(mask.maskText(`value is tok-en-${one}.`)).toBe('value is ***.');
    }
  });

  it('of INI: the value with the spaces in it', () => {
    expect(createSecretMask(file('[a]\npassword = two words \n')).maskText('got two words, two')).toBe(
      'got ***, two',
    );
  });

  it('of a binary file: its base64, wrapped or not, in both alphabets', () => {
    const bytes = Buffer.from(Array.from({ length: 1_000 }, (_, at) => (at * 7_919) % 256));
    const mask = createSecretMask(file(bytes));
    const texts = [
      bytes.toString('base64'),
      bytes.toString('base64url'),
      ...[64, 76].map((width) => bytes.toString('base64').replaceAll(new RegExp(`.{${width}}`, 'g'), '$&\n')),
    ];
    for (const text of texts) {
      const rest = mask.maskText(text).replaceAll(/[*\n]/g, '');
      expect(rest.length).toBeLessThan(8);
    }
  });
});

describe('the registry of an image decides which log-in it gets', () => {
  it.each([
    ['bash', 'docker.io'],
    ['library/bash:5', 'docker.io'],
    ['user/image', 'docker.io'],
    ['docker.io/user/image', 'docker.io'],
    ['index.docker.io/user/image', 'docker.io'],
    ['registry-1.docker.io/user/image', 'docker.io'],
    ['ghcr.io/org/image:1', 'ghcr.io'],
    ['localhost/image', 'localhost'],
    ['Evil/image', 'evil'],
    ['EVIL/team/image:1', 'evil'],
    ['localhost:5000/image', 'localhost:5000'],
    ['Registry.Example:5000/a/b@sha256:0', 'registry.example:5000'],
    ['[::1]:5000/image', '[::1]:5000'],
  ])('%s comes from %s', (image, registry) => {
    expect(registryOfImage(image)).toBe(registry);
  });

  it.each([
    ['https://index.docker.io/v1/', 'docker.io'],
    ['hub.docker.com', 'docker.io'],
    ['HTTPS://GHCR.io/', 'ghcr.io'],
    ['http://registry.example:5000/v2/', 'registry.example:5000'],
  ])('%s means %s', (server, host) => {
    expect(registryHost(server)).toBe(host);
  });

  it('takes the port seriously', () => {
    const login = (server: string): SecretContent => ({
      type: 'docker_registry',
      server,
      username: server,
      password: 'p',
    });
    const secrets = [
      named('a', login('r.example:5000')),
      named('b', login('r.example')),
      named('c', login('docker.io')),
    ];
    const of = (image: string) => registryCredentials(image, secrets)?.secret;
    expect(of('r.example:5000/x')).toBe('a');
    expect(of('r.example/x')).toBe('b');
    expect(of('r.example:5001/x')).toBeUndefined();
    expect(of('x')).toBe('c');
  });
});

describe('names', () => {
  it.each([
    ['a', undefined],
    ['my-key.v2', undefined],
    ['', 'it is empty'],
    ['A', 'only lower-case'],
    ['a_b', 'only lower-case'],
    ['-a', 'begin and end'],
    ['a.', 'begin and end'],
    ['a'.repeat(254), '254 characters'],
  ])('%j: %s', (name, fault) => {
    if (fault === undefined) expect(secretNameFault(name)).toBeUndefined();
    else expect(secretNameFault(name)).toContain(fault);
  });

  it('are made up so that they are good', () => {
    for (const text of ['API_KEY', '__', 'Größe', '.hidden', 'x'.repeat(400), 'id_ed25519']) {
      expect(secretNameFault(`${secretNameStem(text)}-0000`)).toBeUndefined();
    }
  });

  it('of users and secrets never collide as keys of the store', () => {
    const texts = ['a', 'a.b', 'a=b', 'a=2Eb', 'a*', '>', 'ä', ' '];
    const keys = texts.flatMap((user) => texts.map((name) => secretKey(user, name)));
    expect(new Set(keys).size).toBe(texts.length ** 2);
    for (const key of keys) expect(key).toMatch(/^[\w=-]+\.[\w=-]+$/);
    expect(nodeKey('r1z1', 'node-0')).toBe('r1z1.node-0');
  });
});

describe('folders in the container', () => {
  const of = (length: number): string => `/${'a'.repeat(length)}`;
  it.each([
    'relative',
    '/',
    '//',
    '/a/../proc',
    '/a:b',
    '/a\rb',
    '/a\u001B[2Jb',
    '/a\uD800',
    // Docker refuses them, or nothing starts.
    '/proc',
    '/dev/shm/x',
    '/etc',
    '/etc/hosts/x',
    '/usr',
    '/bin',
    '/usr/lib/x',
    '/mnt',
    '/mnt/mcli-progress/x',
    '/mnt//mcli-secrets/',
    '/.mcli-end',
    '/.mcli-phase/x',
    // They hold what the image needs.
    '/root',
    '/tmp',
    '/var/run',
    '/home/',
    of(256),
    of(250).repeat(5),
  ])('refuses %j', (path) => {
    expect(mountPathFault(path)).toBeDefined();
  });

  it.each(['/secrets/x', '/root/.aws', '/mnt/mine', '/processes', '/etc/krb5', of(255), of(200).repeat(5)])(
    'takes %s',
    (path) => {
      expect(mountPathFault(path)).toBeUndefined();
    },
  );
});

describe('a secret that no container could be made with', () => {
  const file = { type: 'mounted', mountPath: '/m', fileBase64: base64('x') };
  it.each<[string, unknown]>([
    ['lacks a part', null],
    ['lacks a part', {}],
    ['lacks a part', { ...file, type: 'toString' }],
    ['lacks a part', { type: 'mounted', mountPath: '/m' }],
    ['lacks a part', { type: 'wandb', apiKey: 7 }],
    ['lacks a part', { type: 's3', mountPath: '/m', credentials: 'c', config: null }],
    ['is not in base64', { ...file, fileBase64: '%%%' }],
    ['its folder "/mnt" cannot be mounted: /mnt/config', { ...file, mountPath: '/mnt' }],
    ['the variable "1X" cannot be set: it must begin', { type: 'environment', key: '1X', value: 'x' }],
    ['the variable "A B" cannot be set: only', { type: 'environment', key: 'A B', value: 'x' }],
    ['the variable "" cannot be set: it must begin', { type: 'environment', key: '', value: 'x' }],
    ['the variable "UID" cannot be set: bash', { type: 'environment', key: 'UID', value: 'x' }],
    ['the variable "K" cannot be set: it has a NUL', { type: 'environment', key: 'K', value: 'a\0b' }],
    ['Linux takes 131071 bytes', { type: 'hugging_face', token: 'x'.repeat(131_072) }],
  ])('%s: %j', (fault, content) => {
    expect(secretFault('n', content)).toContain(fault);
  });

  it('is told from good ones, whatever their type', () => {
    expect(secretFault('n', file)).toBeUndefined();
    expect(secretFault('n', { type: 's3', mountPath: '/m', credentials: 'c' })).toBeUndefined();
    expect(secretFault('a/b', file)).toContain('it cannot have this name');
    expect(secretFault('n', { ...file, mountPath: `/${'x'.repeat(9_999)}` })?.length).toBeLessThan(200);
  });
});

describe('sealing', () => {
  it('opens with any of the keys it was sealed to, and with no other', async () => {
    const [a, b, other] = await Promise.all([1, 2, 3].map(() => newIdentityText(new Date(0))));
    const [first, second, third] = [a, b, other].map((key) => parseIdentities(key?.text ?? ''));
    const sealed = await seal('value', [a?.recipient ?? '', b?.recipient ?? '']);
    expect(sealed).not.toContain(base64('value').slice(0, 6));
    expect(await unseal(sealed, first ?? [])).toBe('value');
    expect(await unseal(sealed, [...(third ?? []), ...(second ?? [])])).toBe('value');
    await expect(unseal(sealed, third ?? [])).rejects.toThrow('no identity matched');
    const damaged = Buffer.from(sealed, 'base64');
    damaged[damaged.length - 1] = (damaged.at(-1) ?? 0) ^ 1;
    await expect(unseal(damaged.toString('base64'), first ?? [])).rejects.toThrow();
  });

  it('never shows a line of a key file that is none', () => {
    expect(() => parseIdentities('# ok\nAGE-SECRET-KEY-1TYPO\n')).toThrow(/^line 2 is not an age identity$/);
  });
});

it('counts the bytes of a file, not those of its base64', () => {
  expect(secretBytes({ type: 'gcp', mountPath: '', fileBase64: base64('x'.repeat(300)) })).toBe(303);
});

describe('all secrets of a user', () => {
  const file = (text: string | Buffer): Secret =>
    named('n', { type: 'mounted', mountPath: '/m', fileBase64: Buffer.from(text).toString('base64') });
  const fault = (...secrets: readonly Secret[]) => sizeFault(secrets.map(secretSize));

  it('may be so many, so large, and have so many lines', () => {
    expect(fault(...Array.from({ length: 100 }, (_, at) => variable(`K${at}`, 'v')))).toBeUndefined();
    expect(fault(...Array.from({ length: 4 }, () => file(Buffer.alloc(524_000, 255))))).toBeUndefined();
    expect(fault(file('a line of some length\n'.repeat(19_999)))).toBeUndefined();
  });

  it.each([
    ['100 are allowed', Array.from({ length: 101 }, (_, at) => variable(`K${at}`, 'v'))],
    ['2097152 are allowed', Array.from({ length: 5 }, () => file(Buffer.alloc(524_000, 255)))],
    ['1048576 are allowed', Array.from({ length: 9 }, (_, at) => variable(`K${at}`, 'v'.repeat(131_000)))],
    ['20000 are allowed', [file('a line of some length\n'.repeat(20_001))]],
  ])('may not be more: %s', (words, secrets) => {
    expect(fault(...secrets)).toContain(words);
  });

  it('have no lines to mask where they are short, or a file is binary', () => {
    expect(secretSize(file('{\n}\n'.repeat(1_000))).maskedLines).toBe(0);
    expect(secretSize(file(Buffer.alloc(100_000, 255))).maskedLines).toBe(0);
  });
});

it('takes entries of the store for deleted that are no secrets, or another key says whose they are', () => {
  const good = {
    name: 'n',
    user: 'u',
    type: 'wandb',
    createdAt: '',
    variables: [],
    recipients: [],
    sealed: '',
  };
  const parse = (value: unknown, key = 'u.n') => parseStoredSecret(key, JSON.stringify(value));
  const read = parse(good);
  expect(read && summaryOf(read)).toEqual({
    name: 'n',
    user: 'u',
    type: 'wandb',
    createdAt: '',
    variables: [],
  });
  for (const key of ['other.n', 'u.other']) expect(parse(good, key)).toBeUndefined();
  expect(parse({ ...good, name: '../n' }, secretKey('u', '../n'))).toBeUndefined();
  for (const bad of [
    null,
    1,
    {},
    { ...good, type: 'new' },
    { ...good, recipients: 'x' },
    { ...good, sealed: 1 },
  ]) {
    expect(parse(bad)).toBeUndefined();
  }
  expect(parseStoredSecret('u.n', 'no JSON')).toBeUndefined();
});
