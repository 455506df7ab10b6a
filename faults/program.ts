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
  /** The ranks of the gang hold on to each other: each exits with 1 at once when another is gone. */
  readonly holdsOn: boolean;
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

/** On loopback, in the network that the containers of all nodes share. */
export const MEETING_PORT = 9_999;
/** What the ranks and the place where they meet say to each other. */
export const MEETING_WORDS = { met: 'met', leave: 'leave', left: 'left' } as const;

const SIGNAL_CODES = { KILL: 137, SEGV: 139 } as const;
const ENDLESS = 1_000_000_000;
const TURN_MS = 100;
const LINGER_LINES = 4;
/** NUL, bytes that are not UTF-8, a carriage return, a colour. */
const BINARY = { inBash: ' \\x00\\x80\\xff\\r\\x1b[31m', inLatin1: ' \u0000\u0080\u00ff\r\u001b[31m' };

/**
 * As bash. Lines come from the shell's own printf, in one piece: a child that prints could be cut off in the middle of
 * the numbers when the whole process group gets SIGTERM, and then the shell could not know what was printed.
 */
export function bashOf(program: Program, meetingPort = MEETING_PORT): string {
  const { burst, pauseMs, binary, onTerm, holdsOn } = program;
  const last = program.lines ?? ENDLESS;
  return [
    // What bash says of killed children is no line of ours.
    'exec 2> /dev/null',
    'P="$RUN_NAME $RESUMPTION_INDEX.$NODE_RANK" n=0 told=0',
    ...trapOf(onTerm),
    ...(holdsOn ? meet(meetingPort) : []),
    ...(program.end.type === 'rank-fails'
      ? [`last=${ENDLESS}; [ "$NODE_RANK" != ${program.end.rank} ] || last=${last}`]
      : [`last=${last}`]),
    'while [ $told = 0 ] && [ $n -lt $last ]; do',
    `  m=$((n + ${burst})); [ $m -le $last ] || m=$last`,
    `  eval "printf '$P %d${binary ? BINARY.inBash : ''}\\\\n' {$((n + 1))..$m}"`,
    '  n=$m',
    ...(holdsOn ? holdOn(pauseMs) : [`  sleep ${pauseMs / 1000} & wait $! || true`]),
    'done',
    ...(holdsOn ? part() : []),
    ...(onTerm === 'save' || onTerm === 'linger'
      ? ['if [ $told = 1 ]; then', ...farewell(onTerm), 'fi']
      : []),
    ...endOf(program.end),
  ].join('\n');
}

/** Waits for the others for as long as it takes. */
function meet(port: number): string[] {
  return [
    // Who writes to somebody who is gone shall see that, and not die of it.
    "trap '' PIPE",
    // In turns: a shell that waits for a line hears no signal, and one whose time is up keeps what it has read of it.
    'listen() { sleep $1 & wait $! || true; ! read -t 0 -u 3 || { read -r -u 3 word && heard=1; } || exit 1; }',
    `hear() { heard=0; while [ $heard = 0 ]; do listen ${TURN_MS / 1000}; done; [ "$word" = "$1" ] || exit 1; }`,
    `until exec 3<> /dev/tcp/127.0.0.1/${port}; do sleep 0.1; done`,
    'printf "$RUN_NAME.$RESUMPTION_INDEX\\n" >&3',
    `hear ${MEETING_WORDS.met}`,
  ];
}

/** There is nothing to hear as long as all are there. */
function holdOn(pauseMs: number): string[] {
  const turns = Math.ceil(pauseMs / TURN_MS);
  return [`  for turn in {1..${turns}}; do listen ${pauseMs / turns / 1000}; done`];
}

function part(): string[] {
  return [`printf '${MEETING_WORDS.leave}\\n' >&3 || exit 1`, `hear ${MEETING_WORDS.left}`];
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
