/** nvidia-smi, asked for tables: the one module that starts it. */
import { execFile } from 'node:child_process';
import type { ExecFileException } from 'node:child_process';

export interface NvidiaSmi {
  /**
   * One row for each GPU, one cell for each field; sizes are MiB, and what a GPU can't tell is in brackets.
   * @param option like `query-gpu`
   * @throws Error in nvidia-smi's own words, or when it does not answer; with the code ENOENT where there is none
   */
  query(option: string, fields: readonly string[]): Promise<string[][]>;
}

/** Starting the driver of eight idle GPUs takes some seconds. */
const TIMEOUT_MS = 30_000;

export function createNvidiaSmi(program = 'nvidia-smi', timeoutMs = TIMEOUT_MS): NvidiaSmi {
  /** One that hangs in the driver can't be killed, and more of them would only pile up. */
  let hanging = 0;
  return {
    query: (option, fields) =>
      new Promise((resolve, reject) => {
        if (hanging > 0) throw new Error('nvidia-smi hangs: the driver does not answer');
        // May throw, where the machine has no room for another process.
        const child = execFile(
          program,
          [`--${option}=${fields.join(',')}`, '--format=csv,noheader,nounits'],
          (error, stdout, stderr) => {
            clearTimeout(overdue);
            if (error) reject(complaint(error, `${stderr}\n${stdout}`));
            else resolve(cells(stdout));
          },
        );
        const overdue = setTimeout(() => {
          reject(new Error(`nvidia-smi did not answer within ${timeoutMs / 1000} s`));
          // Its output may be open for longer than it lives, in the hands of a process that it has started.
          for (const output of [child.stdout, child.stderr]) output?.destroy();
          if (child.exitCode !== null || child.signalCode !== null) return;
          hanging += 1;
          child.once('exit', () => (hanging -= 1));
          child.kill('SIGKILL');
        }, timeoutMs);
      }),
  };
}

function complaint(error: ExecFileException, said: string): Error {
  const [words = error.message] = said.split('\n').filter((line) => line.trim() !== '');
  return Object.assign(new Error(`nvidia-smi failed: ${words.trim()}`), { code: error.code });
}

/** A machine whose GPUs are all gone says so in a line without commas. */
function cells(csv: string): string[][] {
  return csv
    .split('\n')
    .filter((line) => line.includes(','))
    .map((line) => line.split(',').map((cell) => cell.trim()));
}
