/** What can be wrong with a request, told to people. */

/** One thing that is wrong with a request: what, why, how to mend it. */
export interface Problem {
  readonly message: string;
  readonly why?: string;
  readonly fix?: string;
}

/** Where in a run file something stands. */
interface Location {
  /** The field, as `compute.gpus` or `integrations[0].git_repo`; the flag, as `--gpus`, where one is to blame. */
  readonly path: string;
  /** Counted from 1; absent where a flag is to blame. */
  readonly line?: number;
  readonly column?: number;
}

export interface LocatedProblem extends Problem, Location {}

/** Something that was put right or left out, and does not stop the run. */
export interface Warning extends Location {
  readonly message: string;
}
