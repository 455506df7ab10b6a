/** Runs the programs that set-up needs: pip, apt-get, systemctl. */
import { spawn } from 'node:child_process';

/** The last lines of a failed program say why it failed. */
const TAIL_BYTES = 4_000;

export interface ProgramResult {
  /** `null` when it did not start or was ended by a signal. */
  readonly code: number | null;
  /** The end of what it printed on either stream. */
  readonly tail: string;
}

/** Never throws: a program that is missing is a result too. No input, and no questions asked of a terminal. */
export function runProgram(
  command: readonly string[],
  {
    timeoutMs,
    env,
    onLine,
  }: {
    readonly timeoutMs: number;
    readonly env?: NodeJS.ProcessEnv;
    readonly onLine?: (line: string) => void;
  },
): Promise<ProgramResult> {
  const [file = '', ...args] = command;
  return new Promise((resolve) => {
    let tail = '';
    let partial = '';
    const child = spawn(file, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
      timeout: timeoutMs,
    });
    const take = (text: string): void => {
      tail = (tail + text).slice(-TAIL_BYTES);
      const lines = (partial + text).split('\n');
      partial = lines.pop() ?? '';
      for (const line of lines) onLine?.(line);
    };
    child.stdout.setEncoding('utf8').on('data', take);
    child.stderr.setEncoding('utf8').on('data', take);
    child.on('error', (error) => resolve({ code: null, tail: `${file}: ${error.message}` }));
    child.on('close', (code) => resolve({ code, tail: tail.trim() }));
  });
}

/** The last lines of a text, indented to stand under an error. */
export function lastLines(text: string, count: number): string {
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(-count)
    .join('\n       ');
}

/** What root has to type; as root there is nothing to add. */
export const asRoot = (command: string): string => (process.getuid?.() === 0 ? command : `sudo ${command}`);
