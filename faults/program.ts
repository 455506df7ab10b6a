/**
 * What the runs of the suite do. Every program prints numbered lines and ends in a way that is known beforehand: so the
 * truth about a run follows from its program, and from nothing that mcli says.
 */
export interface Program {
  /** How many lines a rank prints that runs to its end; null: it goes on until it is told to stop. */
  readonly lines: number | null;
  /** Lines that are printed at once, and the pause after them in milliseconds. */
  readonly burst: number;
  readonly pauseMs: number;
  /** With bytes that are no text, and with what terminals obey. */
  readonly binary: boolean;
  readonly onTerm: OnTerm;
  readonly end: End;
}

/**
 * What SIGTERM does: nothing that the program has prepared for; one line more; some lines more, slowly; nothing at all.
 * The last takes the whole grace.
 */
export type OnTerm = 'unprepared' | 'save' | 'linger' | 'ignore';

export type End =
  | { readonly type: 'exit'; readonly code: number }
  /** A process of the program dies by a signal, as after a segmentation fault. */
  | { readonly type: 'signal'; readonly signal: 'SEGV' | 'KILL' }
  /** Fails with this code in all resumptions before this one, then ends well. */
  | { readonly type: 'fails-before'; readonly resumption: number; readonly code: number }
  /** One rank fails; the others would wait for it for ever. */
  | { readonly type: 'rank-fails'; readonly rank: number; readonly code: number };

export interface RankName {
  readonly run: string;
  readonly resumption: number;
  readonly rank: number;
}

const SIGNAL_CODES = { KILL: 137, SEGV: 139 } as const;
const ENDLESS = 1_000_000_000;
const LINGER_LINES = 4;
/** NUL, bytes that are not UTF-8, a carriage return, a colour. */
const BINARY = { inBash: ' \\x00\\x80\\xff\\r\\x1b[31m', inLatin1: ' \u0000\u0080\u00ff\r\u001b[31m' };

/**
 * As bash. Lines come from the shell's own printf, in one piece: a child that prints could be cut off in the middle of
 * the numbers when the whole process group gets SIGTERM, and then the shell could not know what was printed.
 */
export function bashOf(program: Program): string {
  const { burst, pauseMs, binary, onTerm } = program;
  const last = program.lines ?? ENDLESS;
  return [
    // What bash says of killed children is no line of ours.
    'exec 2> /dev/null',
    'P="$RUN_NAME $RESUMPTION_INDEX.$NODE_RANK" n=0 told=0',
    ...trapOf(onTerm),
    ...(program.end.type === 'rank-fails'
      ? [`last=${ENDLESS}; [ "$NODE_RANK" != ${program.end.rank} ] || last=${last}`]
      : [`last=${last}`]),
    'while [ $told = 0 ] && [ $n -lt $last ]; do',
    `  m=$((n + ${burst})); [ $m -le $last ] || m=$last`,
    `  eval "printf '$P %d${binary ? BINARY.inBash : ''}\\\\n' {$((n + 1))..$m}"`,
    '  n=$m',
    `  sleep ${pauseMs / 1000} & wait $! || true`,
    'done',
    ...(onTerm === 'save' || onTerm === 'linger'
      ? ['if [ $told = 1 ]; then', ...farewell(onTerm), 'fi']
      : []),
    ...endOf(program.end),
  ].join('\n');
}

function trapOf(onTerm: OnTerm): string[] {
  if (onTerm === 'unprepared') return [];
  return [onTerm === 'ignore' ? "trap '' TERM" : "trap 'told=1' TERM"];
}

function farewell(onTerm: 'save' | 'linger'): string[] {
  const line = 'printf "$P %d saved\\n" $((n += 1))';
  return onTerm === 'save'
    ? [`  ${line}`, '  exit 0']
    : [`  for i in {1..${LINGER_LINES}}; do ${line}; sleep 0.5; done`, '  exit 0'];
}

function endOf(end: End): string[] {
  switch (end.type) {
    case 'exit':
      return [`exit ${end.code}`];
    case 'signal':
      // Not the last line: bash would become the last program itself, and then nobody could tell its exit code.
      return [`bash -c 'kill -${end.signal} $$'`, 'true'];
    case 'fails-before':
      return [`[ $RESUMPTION_INDEX -ge ${end.resumption} ] || exit ${end.code}`, 'exit 0'];
    case 'rank-fails':
      return [`exit ${end.code}`];
  }
}

/** One byte per character. */
export function lineOf(program: Program, { run, resumption, rank }: RankName, number: number): string {
  return `${run} ${resumption}.${rank} ${number}${program.binary ? BINARY.inLatin1 : ''}`;
}

/** Whether this may be line `number`: on its way out, a program prints other lines. */
export function isLine(program: Program, name: RankName, number: number, text: string): boolean {
  return linesAt(program, name, number).includes(text);
}

/** Whether a program that is killed while it prints line `number` may leave this behind. */
export function isBeginning(program: Program, name: RankName, number: number, text: string): boolean {
  return linesAt(program, name, number).some((line) => line.startsWith(text));
}

export const isFarewell = (name: RankName, number: number, text: string): boolean =>
  text === farewellOf(name, number);

/** How many of these a program prints before it ends with 0. */
export function farewellLines({ onTerm }: Program): number {
  return onTerm === 'save' ? 1 : onTerm === 'linger' ? LINGER_LINES : 0;
}

function linesAt(program: Program, name: RankName, number: number): string[] {
  const line = lineOf(program, name, number);
  return farewellLines(program) > 0 ? [line, farewellOf(name, number)] : [line];
}

const farewellOf = ({ run, resumption, rank }: RankName, number: number): string =>
  `${run} ${resumption}.${rank} ${number} saved`;

/** The exit code of a rank that comes to its end by itself; undefined where it never does. */
export function naturalExit({ lines, end }: Program, { resumption, rank }: RankName): number | undefined {
  if (lines === null) return undefined;
  switch (end.type) {
    case 'exit':
      return end.code;
    case 'signal':
      return SIGNAL_CODES[end.signal];
    case 'fails-before':
      return resumption < end.resumption ? end.code : 0;
    case 'rank-fails':
      return rank === end.rank ? end.code : undefined;
  }
}
