/**
 * The first program of every container, and what it tells of the end of the second, which is the user's.
 *
 * An exit code alone does not say who ended a program: a run that saves its work when the machine goes down exits with
 * 0, and one that kills itself with 137, as `docker kill` does. So the first program outlives the second in a process
 * group of its own, which `exec`, traps and `kill 0` of the second do not reach, and writes down how it ended. When
 * nothing is written, both were killed together, from outside.
 */
import type { ProgramEnd } from '../core/failures.ts';
import { CONFIG_DIR } from '../core/naming.ts';
import type { ContainerFile } from './docker.ts';

/** What the first program starts: put here before each start of the container. */
const PROGRAM_PATH = `${CONFIG_DIR}/program.sh`;
/** Always there: a container without it is one whose files cannot be seen at the moment. */
export const ENTRY_PATH = `${CONFIG_DIR}/entry.sh`;
/** Outside of the directories that programs use, so that none removes it by accident. */
export const END_PATH = '/.mcli-end';

/** `-p`: BASH_ENV is for the user's bash. */
export const ENTRY_COMMAND = ['bash', '-p', ENTRY_PATH];

/**
 * SIGTERM is handed on once, so that it can be repeated to a container that may be too young to hear it. `wait` ends
 * early for a signal: it is repeated until it has ended for the program. With job control it also ends when the program
 * stops itself, so the program may begin only when that is off again. A failed program is followed by an attempt to
 * write 64 KiB: full disks have no better witness, since an agent may not see the disk of the containers. What the shell
 * finds in its environment stays exported, so that a variable of the user's must not have the name of one of these.
 */
const ENTRY = `
__mcli_end=itself __mcli_disk=-
__mcli_pass_on() {
  __mcli_end=told __mcli_again=1
  trap __mcli_again=1 TERM
  if [ -n "$__mcli_program" ]; then kill -TERM -- "-$__mcli_program"; fi
}
__mcli_record() { echo "$__mcli_code $__mcli_end $__mcli_disk $__mcli_at" 1<> ${END_PATH}; }
trap __mcli_pass_on TERM
exec {__mcli_go}<> <(:)
set -m
{ read -r -u "$__mcli_go" __mcli_word; exec {__mcli_go}>&-; exec "$BASH" ${PROGRAM_PATH}; } &
__mcli_program=$!
set +m
echo >&"$__mcli_go"
exec {__mcli_go}>&-
exec 2> /dev/null
if [ "$__mcli_end" = told ]; then kill -TERM -- "-$__mcli_program"; fi
__mcli_again=1
while [ -n "$__mcli_again" ]; do __mcli_again=; wait "$__mcli_program"; __mcli_code=$?; done
__mcli_at=$EPOCHREALTIME
__mcli_record
if [ "$__mcli_code" != 0 ] && ! printf '%65536s' >> ${END_PATH}; then __mcli_disk=full; __mcli_record; fi
exit "$__mcli_code"
`.trimStart();

/** Long enough for every record, so that one overwrites it in place, which needs no space on a full disk. */
const EMPTY_RECORD = ' '.repeat(63);

export function entryFiles(program: string): ContainerFile[] {
  return [
    { path: ENTRY_PATH, content: ENTRY },
    { path: PROGRAM_PATH, content: program },
    // The image may run as any user.
    { path: END_PATH, content: `${EMPTY_RECORD}\n`, mode: 0o666 },
  ];
}

export interface EndRecord {
  readonly end: ProgramEnd;
  /** Of the program. Docker's own word is lost when it is killed before it has saved the end: then it says 255. */
  readonly exitCode?: number;
  readonly diskFull: boolean;
  /** ISO 8601. When the program itself ended: ranks that fail together are told apart by it. */
  readonly finishedAt?: string;
}

/** @param text of the record; undefined when the program has removed it: then the exit code is believed. */
export function readEnd(text: string | undefined): EndRecord {
  if (text === undefined) return { end: 'itself', diskFull: false };
  // The decimal point is the locale's, and older shells do not tell the time.
  const [, code, end, disk, seconds, fraction] =
    /^(\d+) (itself|told) (\S+)(?: (\d+)[.,](\d{3}))?/.exec(text) ?? [];
  if (code === undefined) return { end: 'unseen', diskFull: false };
  return {
    end: end as ProgramEnd,
    exitCode: Number(code),
    diskFull: disk === 'full',
    ...(seconds && { finishedAt: new Date(Number(`${seconds}${fraction}`)).toISOString() }),
  };
}
