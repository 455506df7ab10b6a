import { jetstream } from '@nats-io/jetstream';
import { Kvm } from '@nats-io/kv';
import type { KV } from '@nats-io/kv';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Connections } from '../../client/connection.ts';
import { Runs } from '../../client/runs.ts';
import {
  KEYS_BUCKET,
  MAX_SECRET_BYTES,
  parseStoredSecret,
  secretKey,
  SECRETS_BUCKET,
} from '../../core/secret.ts';
import type { SealedSecret, SecretContent } from '../../core/secret.ts';
import { newIdentityText, seal } from '../../core/secret-seal.ts';
import { aRank } from '../support/docker.ts';
import { useNats } from '../support/nats.ts';
import type { SecretNode } from '../support/secrets.ts';
import { aSecretNode, secretsClient } from '../support/secrets.ts';

const nats = useNats();
let node: SecretNode;
let nodes: SecretNode[];
let client: ReturnType<typeof secretsClient>;
beforeEach(async () => {
  nodes = [];
  client = secretsClient(nats.url);
  node = await anotherNode('n0');
  await node.newKey();
  await node.look();
});
afterEach(async () => {
  await client[Symbol.asyncDispose]();
  await Promise.all(nodes.map((one) => one.remove()));
  // Not deleted: once, a stream that was made anew right after that had messages of the old one.
  const { streams } = await jetstream(nats.connection).jetstreamManager();
  for (const bucket of [SECRETS_BUCKET, KEYS_BUCKET]) await streams.purge(`KV_${bucket}`);
});

async function anotherNode(name: string): Promise<SecretNode> {
  const another = await aSecretNode(nats.connection, name);
  nodes.push(another);
  return another;
}
const opened = (bucket: string): Promise<KV> => new Kvm(jetstream(nats.connection)).create(bucket);
const variable = (name: string, key: string, value = 'value', user = 'alice'): SealedSecret => ({
  user,
  name,
  content: { type: 'environment', key, value },
});
const stored = async (name: string) => {
  const entry = await (await opened(SECRETS_BUCKET)).get(secretKey('alice', name));
  const secret = parseStoredSecret(secretKey('alice', name), entry?.string() ?? '');
  if (secret === undefined) throw new Error(`${name} is not stored`);
  return secret;
};

describe('a secret', () => {
  it('is listed without its value, opened by nodes only, and gone when it is deleted', async () => {
    expect(await client.list('alice')).toEqual([]);
    await client.create(variable('a', 'KEY', 'the value'));
    const listed = await client.list('alice');
    expect(listed).toEqual([
      {
        name: 'a',
        user: 'alice',
        type: 'environment',
        createdAt: expect.any(String),
        variables: ['KEY'],
        size: {
          bytes: 'environmentKEYthe value'.length,
          variableBytes: 'KEY=the value'.length,
          maskedLines: 1,
        },
      },
    ]);
    expect(JSON.stringify(await stored('a'))).not.toContain('the value');
    expect(await node.opens('alice')).toEqual(['a={"type":"environment","key":"KEY","value":"the value"}']);
    await client.delete('alice', 'a');
    expect(await client.list('alice')).toEqual([]);
    expect(await node.opens('alice')).toEqual([]);
    await expect(client.delete('alice', 'a')).rejects.toThrow('Could not find secret: a');
    await client.create(variable('a', 'KEY'));
  });

  it('belongs to its user: another has the same name, and neither sees the other', async () => {
    await client.create(variable('a', 'KEY', 'of alice'));
    await client.create(variable('a', 'KEY', 'of bob', 'bob@x.y'));
    expect((await client.list('bob@x.y')).map(({ user }) => user)).toEqual(['bob@x.y']);
    expect(await node.opens('bob@x.y')).toEqual([expect.stringContaining('of bob')]);
    expect(await node.opens('alice')).toEqual([expect.stringContaining('of alice')]);
    expect(await node.opens('carol')).toEqual([]);
  });

  it.each(['', ' ', 'x'.repeat(257)])('belongs to no user without a name: %j', async (user) => {
    await expect(client.create(variable('a', 'KEY', 'v', user))).rejects.toMatchObject({
      message: expect.stringContaining('is not the name of a user'),
      fix: expect.stringContaining('MCLI_USER'),
    });
    expect(await client.list(user)).toEqual([]);
    // Somebody may have submitted a run for it without mcli.
    expect(await node.opens(user)).toEqual([]);
    const runs = new Runs(new Connections({ temporal: {}, namespace: 'none', natsUrl: nats.url }));
    const submission = { spec: aRank('true').spec, submittedYaml: '', user };
    await expect(runs.submit(submission)).rejects.toThrow('is not the name of a user');
  });

  it('is never changed, also not by two commands at once', async () => {
    const both = await Promise.allSettled(
      ['first', 'second'].map((value) => client.create(variable('a', 'KEY', value))),
    );
    expect(both.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
    await expect(client.create(variable('a', 'OTHER'))).rejects.toMatchObject({
      message: 'Secret a exists already',
      fix: expect.stringContaining('mcli delete secret a'),
    });
  });

  it.each<[string, SecretContent, SecretContent, string]>([
    [
      'variable',
      { type: 'hugging_face', token: 'hf_1' },
      { type: 'environment', key: 'HF_TOKEN', value: 'x' },
      'want the variable HF_TOKEN',
    ],
    [
      'ssh key for git',
      { type: 'git', mountPath: '/a', fileBase64: '' },
      { type: 'git', mountPath: '/b', fileBase64: '' },
      'want the variable GIT_SSH_COMMAND',
    ],
    [
      'folder',
      { type: 'mounted', mountPath: '/a', fileBase64: '' },
      { type: 'ssh', mountPath: '/a/b', fileBase64: '' },
      'want the folder /a/b',
    ],
    [
      'registry',
      { type: 'docker_registry', server: 'ghcr.io', username: 'a', password: 'a' },
      { type: 'docker_registry', server: 'ghcr.io', username: 'b', password: 'b' },
      'want the registry ghcr.io',
    ],
  ])('is refused where another has its %s', async (_, first, second, message) => {
    await client.create({ user: 'alice', name: 'one', content: first });
    await expect(client.create({ user: 'alice', name: 'two', content: second })).rejects.toThrow(message);
    await client.create({ user: 'bob', name: 'two', content: second });
  });

  it('may be as large as a message of an untouched NATS allows, and not larger', async () => {
    const content = (bytes: number): SecretContent => ({
      type: 'mounted',
      mountPath: '/m',
      fileBase64: Buffer.alloc(bytes, 7).toString('base64'),
    });
    await client.create({ user: 'alice', name: 'large', content: content(MAX_SECRET_BYTES - 100) });
    expect(await node.opens('alice')).toHaveLength(1);
    const escaped = { type: 's3', mountPath: '/s3', credentials: '"'.repeat(400_000) } as const;
    await expect(client.create({ user: 'alice', name: 'escaped', content: escaped })).rejects.toMatchObject({
      message: 'Secret escaped is too large',
      why: expect.stringContaining('983040 are allowed'),
    });
    await expect(
      client.create({ user: 'alice', name: 'huge', content: content(MAX_SECRET_BYTES + 1) }),
    ).rejects.toMatchObject({
      message: 'Secret huge is too large',
      why: expect.stringContaining('524288 are allowed'),
    });
  });

  it('is refused where no container could be made with it', async () => {
    const content = { type: 'wandb', apiKey: 'x'.repeat(131_072) } as const;
    await expect(client.create({ user: 'alice', name: 'a', content })).rejects.toMatchObject({
      message: 'Secret a cannot be used',
      why: expect.stringContaining('Linux takes 131071 bytes with the name'),
    });
    await expect(client.create(variable('a', 'UID'))).rejects.toThrow('Secret a cannot be used');
  });

  it('is refused where all of its user would be too much, and nodes refuse what got there in another way', async () => {
    const file = (name: string): SealedSecret => ({
      user: 'alice',
      name,
      content: {
        type: 'mounted',
        mountPath: `/${name}`,
        fileBase64: Buffer.from('twelve bytes\n'.repeat(8_000)).toString('base64'),
      },
    });
    await client.create(file('a'));
    await client.create(file('b'));
    await expect(client.create(file('c'))).rejects.toMatchObject({
      message: 'There is no room for secret c',
      why: expect.stringContaining('they are 24000 lines to mask in logs'),
    });
    const recipients = await (await node.buckets).recipients();
    const label = { ...file('c'), type: 'mounted', createdAt: '', variables: [], recipients } as const;
    const sealed = await seal(JSON.stringify(file('c')), recipients);
    await (await node.buckets).create({ ...label, sealed });
    await expect(node.opens('alice')).rejects.toMatchObject({
      type: 'SecretUnreadable',
      message:
        'The secrets of alice are too much for a run: they are 24000 lines to mask in logs ' +
        '(a compressed file has none); 20000 are allowed. Delete some of them.',
    });
  });

  it('is refused as long as nobody could ever open it', async () => {
    await client.forgetNode('c', 'n0');
    await expect(client.create(variable('a', 'KEY'))).rejects.toMatchObject({
      message: 'The secret cannot be sealed',
      why: 'no node agent has published a key, so nobody could ever open it',
    });
  });

  it('says that the store is away when NATS is', async () => {
    await nats.kill();
    await expect(client.list('alice')).rejects.toThrow(`NATS at ${nats.url} does not answer`);
    await expect((await node.buckets).recipients()).rejects.toMatchObject({
      message: 'The store of secrets does not answer',
      fix: expect.stringContaining('MCLI_NATS_URL'),
    });
    await nats.start();
    const isBack = () =>
      nats.connection.rtt().then(
        () => true,
        () => false,
      );
    await expect.poll(isBack, { timeout: 10_000 }).toBe(true);
  });

  it('is waited for by a run while NATS has no JetStream, as in a restart of a part of it', async () => {
    await client.create(variable('a', 'KEY'));
    await nats.restart(`listen: "${new URL(nats.url).host}"`);
    await expect(client.list('alice')).rejects.toThrow('The store of secrets does not answer');
    const patient = node.store(0).openFor('alice', AbortSignal.timeout(30_000));
    await expect((await node.buckets).recipients()).rejects.toMatchObject({ name: 'SecretStoreSilent' });
    await nats.kill();
    await nats.start();
    expect(await patient).toHaveLength(1);
  });

  it('that was moved to another user, renamed or damaged is refused by nodes', async () => {
    await client.create(variable('a', 'KEY'));
    const bucket = await opened(SECRETS_BUCKET);
    const entry = await stored('a');
    const put = (user: string, name: string, change: object = {}) =>
      bucket.put(secretKey(user, name), JSON.stringify({ ...entry, user, name, ...change }));
    await bucket.put(secretKey('mallory', 'a'), JSON.stringify(entry));
    expect(await node.opens('mallory')).toEqual([]);
    await put('mallory', 'a');
    await expect(node.opens('mallory')).rejects.toThrow('Secret a was sealed for another user');
    await put('bob', 'b');
    await expect(node.opens('bob')).rejects.toThrow('Secret b was sealed for another user');
    await put('carol', 'c', { sealed: Buffer.from('nonsense').toString('base64') });
    await expect(node.opens('carol')).rejects.toThrow('Secret c is damaged');
    expect(await node.opens('alice')).toHaveLength(1);
  });
});

describe('a secret that somebody has sealed by himself', () => {
  const putSealed = async (sealedText: string) => {
    const recipients = await (await node.buckets).recipients();
    const sealed = await seal(sealedText, recipients);
    const label = { user: 'alice', name: 'a', type: 'mounted', createdAt: '', variables: [], recipients };
    const bucket = await opened(SECRETS_BUCKET);
    await bucket.put(secretKey('alice', 'a'), JSON.stringify({ ...label, sealed }));
  };

  it.each<[object, string]>([
    [{ type: 'mounted', mountPath: '/mnt', fileBase64: '' }, 'its folder "/mnt" cannot be mounted'],
    [{ type: 'mounted', mountPath: '/m', fileBase64: '%%%' }, 'its file is not in base64'],
    [{ type: 'environment', key: 'A;B', value: '' }, 'the variable "A;B" cannot be set'],
    [{ type: 'unheard' }, 'it lacks a part'],
  ])('is refused by nodes where no container could be made with it: %j', async (content, fault) => {
    await putSealed(JSON.stringify({ user: 'alice', name: 'a', content }));
    await expect(node.opens('alice')).rejects.toMatchObject({
      name: 'UnreadableSecret',
      message: expect.stringContaining(`Secret a cannot be used: ${fault}`),
    });
  });

  it('is refused where it is none at all', async () => {
    await putSealed('null');
    await expect(node.opens('alice')).rejects.toMatchObject({ name: 'UnreadableSecret' });
  });
});

describe('keys of nodes', () => {
  it('all open what is made after they came, and what another passes on', async () => {
    await client.create(variable('old', 'OLD'));
    const second = await anotherNode('n1');
    await second.newKey();
    await second.look();
    await expect(second.opens('alice')).rejects.toMatchObject({
      type: 'SecretNotPassedOn',
      message:
        'Secret old cannot be opened: node n1 does not have the key that it is sealed to, ' +
        'and no other node has passed it on within 0 s.',
    });
    await client.create(variable('new', 'NEW'));
    await node.look();
    expect(await second.opens('alice')).toHaveLength(2);
    expect(node.said.at(-1)).toBe('Sealed 1 secrets to the keys that nodes have now.');
  });

  it('are passed on behind a secret that has no room for another', async () => {
    const recipients = await (await node.buckets).recipients();
    const label = { user: 'alice', name: 'large', type: 'wandb', createdAt: '', variables: [] } as const;
    // Put there as nobody can who asks mcli: what is allowed has room.
    const content = { type: 's3', mountPath: '/m', credentials: '"'.repeat(392_500) };
    const sealed = await seal(JSON.stringify({ user: 'alice', name: 'large', content }), recipients);
    const large = { ...label, recipients, sealed };
    const room = 1_048_576 - JSON.stringify(large).length;
    expect(room).toBeGreaterThan(0);
    await (await node.buckets).create({ ...large, createdAt: ' '.repeat(room - 200) });
    await client.create(variable('small', 'KEY', 'value', 'bob'));
    const second = await anotherNode('n1');
    await second.newKey();
    await second.look();
    await node.look();
    expect(await second.opens('bob')).toHaveLength(1);
    expect(node.said).toEqual([
      expect.stringMatching(/^Secret alice\.large cannot be sealed .*max_payload/),
      'Sealed 1 secrets to the keys that nodes have now.',
    ]);
  });

  it('are waited for by a run that comes before a secret was passed on', async () => {
    await client.create(variable('a', 'KEY'));
    const second = await anotherNode('n1');
    await second.newKey();
    await second.look();
    const opening = second.store(20_000).openFor('alice', AbortSignal.timeout(20_000));
    await node.look();
    expect(await opening).toHaveLength(1);
  });

  it('are rotated without an end: the old ones open until everything is sealed to the new', async () => {
    await client.create(variable('a', 'KEY'));
    const recipient = await node.newKey();
    expect(await node.opens('alice')).toHaveLength(1);
    await node.look();
    expect((await stored('a')).recipients).toEqual([recipient]);
    await node.look();
    expect(node.said).toEqual([
      'Sealed 1 secrets to the keys that nodes have now.',
      'No secret is sealed to the older keys of this node: they can be removed from its key file.',
    ]);
    await node.dropOlderKeys();
    expect(await node.opens('alice')).toHaveLength(1);
  });

  it('are passed on also for a secret whose maker died before it could see to that', async () => {
    await node.look();
    const second = await anotherNode('n1');
    const recipient = await second.newKey();
    await second.look();
    await node.look();
    // As a command does that asked for the keys before the second node was there.
    const secret = variable('a', 'KEY');
    const known = (await (await node.buckets).recipients()).filter((key) => key !== recipient);
    const sealed = await seal(JSON.stringify(secret), known);
    const label = {
      user: 'alice',
      name: 'a',
      type: 'environment',
      createdAt: '',
      variables: ['KEY'],
    } as const;
    await (await node.buckets).create({ ...label, recipients: known, sealed });
    await node.look();
    expect(await second.opens('alice')).toHaveLength(1);
  });

  it('cost an agent next to nothing while nothing changes, however many nodes and secrets there are', async () => {
    for (let one = 0; one < 10; one += 1) {
      const { recipient } = await newIdentityText(new Date());
      await (await node.buckets).publish('c', `other${one}`, recipient, 0);
      await client.create(variable(`s${one}`, `KEY_${one}`));
    }
    await node.look();
    // What it has sealed itself comes again, once.
    await node.look();
    const before = nats.connection.stats().outMsgs;
    await node.look();
    expect(nats.connection.stats().outMsgs - before).toBeLessThan(6);
  });

  it('are not sealed to any more when their node is deleted, though its agent runs on', async () => {
    const second = await anotherNode('n1');
    await second.newKey();
    await second.look();
    expect(await client.forgetNode('c', 'n1')).toBe(true);
    second.cluster.hasNode = false;
    await second.look();
    await second.look();
    expect(second.said).toEqual([
      'No secrets are sealed to the key of this node: c does not have n1 (any more).',
    ]);
    await client.create(variable('a', 'KEY'));
    expect((await stored('a')).recipients).toHaveLength(1);
    expect(await client.forgetNode('c', 'n1')).toBe(false);
    second.cluster.hasNode = true;
    await second.look();
    await node.look();
    expect((await stored('a')).recipients).toHaveLength(2);
  });

  it('are not published by an agent that looked before its node was deleted', async () => {
    const buckets = await node.buckets;
    await client.forgetNode('c', 'n0');
    const { revision } = await buckets.published('c', 'n0');
    await client.forgetNode('c', 'n0');
    await buckets.publish('c', 'n0', await node.newKey(), revision);
    expect(await buckets.recipients()).toEqual([]);
  });

  it('that are lost are said so, and by all nodes that seal again, only one wins', async () => {
    await client.create(variable('a', 'KEY'));
    const stranger = await anotherNode('n9');
    await stranger.newKey();
    await client.forgetNode('c', 'n0');
    await stranger.look();
    await expect(stranger.store(60_000).openFor('alice', AbortSignal.timeout(10_000))).rejects.toMatchObject({
      type: 'SecretUnreadable',
      message: 'Secret a cannot be opened: node n9 does not have the key that it is sealed to.',
    });
    const twin = await anotherNode('n0');
    await expect(twin.opens('alice')).rejects.toMatchObject({
      type: 'NodeWithoutKey',
      message: 'Secret a cannot be opened: node n0 has no key.',
    });
    await Promise.all([node.look(), node.look()]);
    expect(await stranger.opens('alice')).toHaveLength(1);
  });

  it('are waited for as long as NATS is away, and no longer than the run wants', async () => {
    await client.create(variable('a', 'KEY'));
    await nats.kill();
    const stopped = new AbortController();
    const waiting = node.store(0).openFor('alice', stopped.signal);
    stopped.abort();
    await expect(waiting).rejects.toThrow(/abort/i);
    const patient = node.store(0).openFor('alice', AbortSignal.timeout(30_000));
    await nats.start();
    expect(await patient).toHaveLength(1);
  });
});
