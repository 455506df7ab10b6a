/** Something about this machine that a person has to mend: what happened, why, and what to do. */
export class StackError extends Error {
  readonly why: string;
  readonly fix: string;

  constructor({ message, why, fix }: { message: string; why: string; fix: string }) {
    super(message);
    this.name = 'StackError';
    this.why = why;
    this.fix = fix;
  }
}

/** How the stack tells what it does: one line, without newline. */
export type Say = (line: string) => void;
