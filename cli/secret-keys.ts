/** Private keys, and the keys by which the hosts are known that they are for. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import type { CliContext } from './context.ts';
import { CliError } from './errors.ts';
import type { SecretFlags, SecretInput, Wanted } from './secret-input.ts';

/** Refuses what no run could use: another file, a public key, a key with a passphrase. */
export async function readPrivateKey(
  input: SecretInput,
  argument: string | undefined,
): Promise<{ readonly stem: string | undefined; readonly fileBase64: string }> {
  const { bytes, stem } = await input.file(argument, { words: 'private key', flag: 'FILE' });
  const text = bytes.toString('latin1').replaceAll('\r\n', '\n').trim();
  if (!/^-----BEGIN [A-Z ]*PRIVATE KEY-----\n/.test(text)) {
    const isPublic = /^(?:ssh-|ecdsa-|sk-)|^-----BEGIN [A-Z ]*PUBLIC KEY/.test(text);
    throw new CliError({
      message: isPublic ? 'This is a public key' : 'This is not a private key',
      why: 'a run shows who it is with the private one, a file that begins with -----BEGIN … PRIVATE KEY-----',
      fix: 'Name that file; its public part, often the same name with .pub, goes to the server.',
    });
  }
  if (hasPassphrase(text)) {
    throw new CliError({
      message: 'This private key has a passphrase',
      why: 'nobody is there to type it when a run needs the key',
      fix: 'Make a key of its own for runs: ssh-keygen -t ed25519 -N "" -f FILE',
    });
  }
  // ssh takes a key without a newline at its end for a damaged one.
  return { stem, fileBase64: Buffer.from(`${text}\n`, 'latin1').toString('base64') };
}

function hasPassphrase(key: string): boolean {
  if (/^Proc-Type: .*ENCRYPTED|BEGIN ENCRYPTED/m.test(key)) return true;
  if (!key.includes('BEGIN OPENSSH')) return false;
  const body = Buffer.from(key.replaceAll(/-----.*-----/g, ''), 'base64');
  // `openssh-key-v1`, NUL, then the name of the cipher with its length in front: `none` without a passphrase.
  const start = 'openssh-key-v1\0'.length;
  if (body.length < start + 4) return false;
  return body.toString('latin1', start + 4, start + 4 + body.readUInt32BE(start)) !== 'none';
}

const HOST_NAME: Wanted = { words: 'host name of the SFTP server', flag: '--host-name' };

/** What the host is recognised by; undefined with --no-host-check: then nothing is checked. */
export async function readKnownHosts(
  context: CliContext,
  input: SecretInput,
  { hostName, hostCheck, knownHosts }: SecretFlags,
): Promise<string | undefined> {
  if (knownHosts !== undefined) {
    return await input.textFile(knownHosts, { words: 'known_hosts file', flag: '--known-hosts' });
  }
  if (hostCheck === false) return undefined;
  const host = await input.text(hostName, HOST_NAME);
  const lines = await scanHost(host);
  const prints = lines.map((line) => {
    const [, kind = '', key = ''] = line.split(' ');
    return `  ${kind} SHA256:${createHash('sha256').update(Buffer.from(key, 'base64')).digest('base64').replace(/=+$/, '')}`;
  });
  context.say(`${host} shows these keys:\n${prints.join('\n')}`);
  if (input.asks && (await context.confirm('Are they the right ones?'))) return `${lines.join('\n')}\n`;
  throw new CliError({
    message: `The keys of ${host} are not confirmed`,
    why: input.asks ? 'you did not say yes' : 'nobody can be asked',
    fix: 'Give a file with the right ones: --known-hosts FILE; or let runs trust any host: --no-host-check',
  });
}

const SCAN_TIMEOUT_MS = 15_000;

async function scanHost(host: string): Promise<string[]> {
  const [, name = host, port] = /^([^:]+):(\d+)$/.exec(host) ?? [];
  const failed = (why: string): CliError =>
    new CliError({
      message: `The keys of ${host} could not be asked for`,
      why,
      fix: 'Give a file with them: --known-hosts FILE; or let runs trust any host: --no-host-check',
    });
  if (!/^[A-Za-z0-9._-]+$/.test(name) || name.startsWith('-')) throw failed('this is not a host name');
  const args = ['-T', '5', ...(port === undefined ? [] : ['-p', port]), name];
  try {
    const { stdout } = await promisify(execFile)('ssh-keyscan', args, { timeout: SCAN_TIMEOUT_MS });
    const lines = stdout.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    if (lines.length > 0) return lines;
  } catch (error) {
    throw failed(
      (error as NodeJS.ErrnoException).code === 'ENOENT'
        ? 'ssh-keyscan is not installed'
        : 'ssh-keyscan failed',
    );
  }
  throw failed('it does not answer');
}
