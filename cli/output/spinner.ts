/**
 * One line that moves while something lasts. Of our own, because the spinners on npm end the process at Ctrl-C, where
 * mcli has to say that the run goes on.
 */
import { clearLine, cursorTo } from 'node:readline';
import type { Writable } from 'node:stream';
import { printableLine } from './printable.ts';

export interface Spinner {
  text(line: string): void;
  stop(): void;
}

const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const FRAME_MS = 100;
const DEFAULT_COLUMNS = 80;

export function startSpinner(stream: Writable): Spinner {
  let line = '';
  let frame = 0;
  const erase = (): void => {
    cursorTo(stream, 0);
    clearLine(stream, 0);
  };
  const draw = (): void => {
    frame = (frame + 1) % FRAMES.length;
    erase();
    // A wrapped line would leave its first half behind with every turn.
    stream.write(`${FRAMES[frame]} ${line}`.slice(0, columnsOf(stream) - 1));
  };
  const timer = setInterval(draw, FRAME_MS);
  return {
    text: (text) => {
      line = printableLine(text);
      draw();
    },
    stop: () => {
      clearInterval(timer);
      erase();
    },
  };
}

function columnsOf(stream: Writable): number {
  return 'columns' in stream && typeof stream.columns === 'number' ? stream.columns : DEFAULT_COLUMNS;
}
