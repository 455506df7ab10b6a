/** How a secret comes in: from a flag, a file, a pipe, or a person, whose typing is not shown. */
import { createReadStream } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { MAX_SECRET_BYTES } from '../core/secret.ts';
import type { CliContext } from './context.ts';
import { CliError, EXIT } from './errors.ts';

interface InputFlags {
  /** False with --no-input. */
  readonly input: boolean;
  /** Where the value is; `-` for standard input. */
  readonly fromFile?: string;
}

/** All flags of all types; commander lets none through that the type does not have. */
export interface SecretFlags extends InputFlags {
  readonly name?: string;
  readonly username?: string;
  readonly password?: string;
  readonly server?: string;
  readonly mountPath?: string;
  readonly mountDirectory?: string;
  readonly hostName?: string;
  /** False with --no-host-check. */
  readonly hostCheck?: boolean;
  readonly knownHosts?: string;
  readonly configFile?: string;
  readonly credentialsFile?: string;
  readonly keyFile?: string;
  readonly profile?: string;
  readonly host?: string;
  readonly token?: string;
  readonly apiKey?: string;
}

/** What is asked for: in words for people, and the flag or argument for scripts. */
export interface Wanted {
  readonly words: string;
  readonly flag: string;
  /** A given `-` is the value, and does not stand for standard input. */
  readonly literal?: boolean;
}

export class SecretInput {
  private readonly context: CliContext;
  private readonly flags: InputFlags;
  private readonly type: string;

  constructor(context: CliContext, flags: InputFlags, type: string) {
    this.context = context;
    this.flags = flags;
    this.type = type;
  }

  get asks(): boolean {
    return this.flags.input && this.context.terminal.interactive;
  }

  /** Something that may be seen; `otherwise` where nobody can be asked, or the answer is empty. */
  async text(given: string | undefined, wanted: Wanted, otherwise?: string): Promise<string> {
    if (given !== undefined) return given;
    if (!this.asks) {
      if (otherwise !== undefined) return otherwise;
      throw this.missing(wanted, 'nobody can be asked: this is no terminal');
    }
    const hint = otherwise === undefined ? '' : ` [${otherwise}]`;
    const answer = (await this.question(`${capital(wanted.words)}${hint}: `, true)).trim() || otherwise;
    if (answer === undefined) throw this.empty(wanted);
    return answer;
  }

  /** One line or text that must not be seen. A newline at its end belongs to the file that it came from. */
  async hidden(given: string | undefined, wanted: Wanted): Promise<string> {
    const bytes = await this.hiddenBytes(given, wanted);
    const text = decode(bytes, wanted).replace(/\r?\n$/, '');
    if (text === '') throw this.empty(wanted);
    if (text.includes('\0')) throw binary(wanted, 'it has a NUL character in it');
    return text;
  }

  /** A file as it is, and what its name begins with: named by an argument, or piped in. */
  async file(
    given: string | undefined,
    wanted: Wanted,
  ): Promise<{ bytes: Buffer; stem: string | undefined }> {
    if (given !== undefined && this.flags.fromFile !== undefined) throw this.twice(wanted);
    let file = given ?? this.flags.fromFile;
    if (file === undefined && this.asks) {
      file = await this.text(undefined, { ...wanted, words: `path of the ${wanted.words}` });
    }
    const bytes = await this.readSource(file, wanted);
    if (bytes.length === 0) throw this.empty(wanted);
    return { bytes, stem: file === undefined || file === '-' ? undefined : path.parse(file).name };
  }

  /** A file that is text. */
  async textFile(file: string, wanted: Wanted): Promise<string> {
    const text = decode(await this.readSource(file, wanted), wanted);
    if (text.trim() === '') throw this.empty(wanted);
    return text;
  }

  private missing(
    { words, flag }: Wanted,
    why = 'nobody can be asked: this is no terminal, and nothing is piped in',
  ): CliError {
    return new CliError(
      {
        message: this.flags.input
          ? `The ${words} is missing`
          : 'Found missing arguments when using --no-input',
        why: this.flags.input ? why : `${flag} is missing`,
        fix: `Give ${flag}; see mcli create secret ${this.type} --help`,
      },
      EXIT.usage,
    );
  }

  private async hiddenBytes(given: string | undefined, wanted: Wanted): Promise<Buffer> {
    const { fromFile } = this.flags;
    if (given !== undefined && fromFile !== undefined) throw this.twice(wanted);
    if (given !== undefined && (given !== '-' || wanted.literal)) {
      this.context.say(
        '! The value was in the command line, which other users of this machine and the history of your shell can see. ' +
          'Leave it out to be asked for it, or pipe it in.',
      );
      return Buffer.from(given);
    }
    const source = fromFile ?? given;
    if (this.asks && (source ?? '-') === '-') {
      return Buffer.from(await this.question(`${capital(wanted.words)}: `, false));
    }
    return await this.readSource(source, wanted);
  }

  /**
   * A file, or standard input: for `-`, and where nothing is named. A script may have an open standard input that is not
   * meant for mcli: --no-input says so. From a keyboard nothing is read here, since it would be seen while it is typed.
   */
  private async readSource(source: string | undefined, wanted: Wanted): Promise<Buffer> {
    if (source !== undefined && source !== '-') return await this.readFile(source);
    const { stdin } = this.context.terminal;
    const isKeyboard = 'isTTY' in stdin && stdin.isTTY === true;
    if (isKeyboard && source === '-') {
      throw this.missing(wanted, 'it has to be piped in: what is typed would be seen');
    }
    if (isKeyboard || (source === undefined && !this.flags.input)) throw this.missing(wanted);
    const bytes = await this.limited(stdin, `The ${wanted.words} on standard input`);
    if (source === undefined && bytes.length === 0) throw this.missing(wanted);
    return bytes;
  }

  private async readFile(file: string): Promise<Buffer> {
    const full = file.startsWith('~/') ? path.join(homedir(), file.slice(1)) : file;
    try {
      return await this.limited(createReadStream(full), `File ${file}`);
    } catch (error) {
      if (error instanceof CliError) throw error;
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT')
        throw new CliError({ message: `File ${file} not found`, fix: 'Check its path.' });
      if (code === 'EISDIR') throw new CliError({ message: `${file} is a folder`, fix: 'Name a file.' });
      throw new CliError({ message: `File ${file} cannot be read`, why: message });
    }
  }

  private async limited(source: AsyncIterable<Buffer | string>, what: string): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of source) {
      size += chunk.length;
      if (size > MAX_SECRET_BYTES) {
        throw new CliError({
          message: `${what} is too large for a secret`,
          why: `it has more than ${MAX_SECRET_BYTES} bytes, which is what a message of NATS can carry`,
          fix: 'Keep large files where runs can fetch them, and their credentials here.',
        });
      }
      chunks.push(Buffer.from(chunk));
    }
    return Buffer.concat(chunks);
  }

  private empty({ words }: Wanted): CliError {
    return new CliError({
      message: `The ${words} is empty`,
      fix: 'Give a value; to remove a secret: mcli delete secret',
    });
  }

  private twice({ flag }: Wanted): CliError {
    return new CliError(
      {
        message: 'Two values for one secret',
        why: `both ${flag} and --from-file were given`,
        fix: 'Give one of them.',
      },
      EXIT.usage,
    );
  }

  /** @throws CliError when the person leaves with Ctrl-C or Ctrl-D. */
  private async question(words: string, echo: boolean): Promise<string> {
    const { stdin, stderr } = this.context.terminal;
    const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
    const prompt = createInterface({ input: stdin, output: echo ? stderr : nowhere, terminal: true });
    const left = new AbortController();
    for (const event of ['SIGINT', 'close']) prompt.once(event, () => left.abort());
    const more: string[] = [];
    prompt.on('line', (line) => more.push(line));
    if (!echo) stderr.write(words);
    try {
      const answer = await prompt.question(echo ? words : '', { signal: left.signal });
      if (echo) return answer;
      stderr.write('\n');
      // What is pasted comes at once. Unread, the rest of it would go to the shell.
      const size = (): number => more.length + prompt.line.length;
      for (let before = -1; before !== size();) {
        before = size();
        await sleep(PASTE_MS);
      }
      if (size() > 0) throw severalLines();
      return answer;
    } catch (error) {
      if (!left.signal.aborted) throw error;
      stderr.write('\n');
      throw new CliError({ message: 'Exiting with Keyboard Interrupt' }, EXIT.detached);
    } finally {
      prompt.close();
    }
  }
}

/** Between parts of what is pasted; too short to be noticed. */
const PASTE_MS = 50;

function severalLines(): CliError {
  return new CliError({
    message: 'Several lines were pasted, and a prompt takes one',
    why: 'the others would be lost',
    fix: 'Pipe the text in, or name its file: --from-file FILE',
  });
}

const capital = (words: string): string => `${words.charAt(0).toUpperCase()}${words.slice(1)}`;

function decode(bytes: Buffer, wanted: Wanted): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw binary(wanted, 'it is not UTF-8 text');
  }
}

function binary({ words }: Wanted, why: string): CliError {
  return new CliError({
    message: `The ${words} is binary`,
    why,
    fix: 'Encode it, for instance with base64; or hand it over as a file: mcli create secret mounted FILE',
  });
}

/** @throws CliError for a token that was not copied as it is */
export function oneWord(text: string, { words }: Wanted): string {
  const word = text.trim();
  if (word !== '' && !/\s/.test(word)) return word;
  throw new CliError({
    message: `The ${words} is not one word`,
    why: word === '' ? 'it is blank' : 'it has white space in it',
    fix: 'Copy it again, without what is around it.',
  });
}
