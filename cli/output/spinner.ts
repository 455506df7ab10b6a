/** One line that moves while something lasts. */
import type { Writable } from 'node:stream';
import yoctoSpinner from 'yocto-spinner';

export interface Spinner {
  text(line: string): void;
  stop(): void;
}

export function startSpinner(stream: Writable): Spinner {
  const width = (): number =>
    'columns' in stream && typeof stream.columns === 'number' ? stream.columns : 80;
  const spinner = yoctoSpinner({ stream: stream as NodeJS.WriteStream }).start();
  return {
    text: (line) => {
      // A wrapped line would leave its first half behind with every turn.
      spinner.text =
        line.length > width() - SPINNER_COLUMNS ? `${line.slice(0, width() - SPINNER_COLUMNS - 1)}…` : line;
    },
    stop: () => void spinner.stop(),
  };
}

const SPINNER_COLUMNS = 3;
