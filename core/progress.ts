/**
 * What a run says of itself while it runs: a line of JSON for each report, any of whose fields may be missing. Later
 * lines override earlier ones, field by field. What is wrong in a line is left out, and said.
 */

/** One line. */
export interface ProgressReport {
  readonly step?: number;
  readonly total?: number;
  /** Null stands for a value that is no number, like the NaN of a loss that has diverged. */
  readonly metrics: Readonly<Record<string, number | null>>;
  readonly links: Readonly<Record<string, string>>;
}

/** Some lines that were read together. */
export interface ProgressLines {
  readonly reports: readonly ProgressReport[];
  /** What was left out last, as a sentence; absent when nothing was. */
  readonly problem?: string;
  /** When they were written, epoch milliseconds. */
  readonly at: number;
}

/** All lines so far. Times are epoch milliseconds. */
export interface RunProgress extends ProgressReport {
  /** Where the steps began, for their rate: a run that goes on from a checkpoint does not begin at 0. */
  readonly since?: Moment;
  /** When the present step was reported. */
  readonly stepAt?: number;
  /** When each metric was reported last; absent in what agents of before have said. */
  readonly measured?: Readonly<Record<string, Moment>>;
  /** What was left out last, as a sentence. */
  readonly problem?: string;
}

interface Moment {
  readonly step: number;
  /** Epoch milliseconds. */
  readonly at: number;
}

/** One value of a metric. */
export interface Metric extends Moment {
  readonly name: string;
  /** NaN where the run said so. */
  readonly value: number;
}

/** The report in a line, and what is wrong with it. Fields with other names are for later versions, and passed over. */
export function parseReport(line: string): { readonly report?: ProgressReport; readonly problem?: string } {
  const value = parseJson(line);
  if (!isRecord(value)) return { problem: 'A line is not a JSON object.' };
  const step = value['step'] ?? undefined;
  // Nothing else is taken either: metrics would stand at the step of another line.
  if (!isCount(step)) return { problem: '"step" is not a number from 0 on.' };
  const problems: string[] = [];
  const total = value['total'] ?? undefined;
  if (!isCount(total)) problems.push('"total" is not a number from 0 on.');
  const report = {
    ...(step !== undefined && { step }),
    ...(total !== undefined && isCount(total) && { total }),
    metrics: readNamed({ record: value, field: 'metrics', fits: isMetric, wanted: 'a number' }, problems),
    links: readNamed({ record: value, field: 'links', fits: isLink, wanted: LINK }, problems),
  };
  const problem = problems.at(-1);
  return { report, ...(problem !== undefined && { problem }) };
}

/**
 * Of many lines at once: a run may write thousands in a second, and what is known is copied each time.
 * @returns also the values of metrics that came, in their order
 */
export function addReports(
  before: RunProgress | undefined,
  { reports, problem, at }: ProgressLines,
): { readonly progress: RunProgress; readonly added: readonly Metric[] } {
  const sum = new Sum(before, at);
  if (problem !== undefined) sum.problem = problem;
  const added = reports.flatMap((report) => sum.add(report));
  return { progress: sum.progress(), added };
}

/** What is known after each of some lines. */
class Sum {
  problem: string | undefined;
  readonly #at: number;
  #step: number | undefined;
  #total: number | undefined;
  #since: Moment | undefined;
  #stepAt: number | undefined;
  readonly #metrics: Map<string, number | null>;
  readonly #measured: Map<string, Moment>;
  readonly #links: Map<string, string>;

  constructor(before: RunProgress | undefined, at: number) {
    this.#at = at;
    this.problem = before?.problem;
    this.#step = before?.step;
    this.#total = before?.total;
    this.#since = before?.since;
    this.#stepAt = before?.stepAt;
    this.#metrics = new Map(Object.entries(before?.metrics ?? {}));
    this.#measured = new Map(Object.entries(before?.measured ?? {}));
    this.#links = new Map(Object.entries(before?.links ?? {}));
  }

  add({ step, total, metrics, links }: ProgressReport): Metric[] {
    if (step !== undefined && step !== this.#step) this.#goTo(step);
    this.#total = total ?? this.#total;
    for (const [name, address] of Object.entries(links)) {
      if (this.#links.has(name) || this.#links.size < MAX_LINKS) this.#links.set(name, address);
      else this.problem = `The link ${name} is one of more than ${MAX_LINKS}.`;
    }
    return Object.entries(metrics).flatMap(([name, value]) => this.#measure(name, value));
  }

  progress(): RunProgress {
    return {
      ...(this.#step !== undefined && { step: this.#step }),
      ...(this.#total !== undefined && { total: this.#total }),
      metrics: Object.fromEntries(this.#metrics),
      links: Object.fromEntries(this.#links),
      ...(this.#since && { since: this.#since }),
      ...(this.#stepAt !== undefined && { stepAt: this.#stepAt }),
      measured: Object.fromEntries(this.#measured),
      ...(this.problem !== undefined && { problem: this.problem }),
    };
  }

  #goTo(step: number): void {
    // Steps that begin again, for instance after an evaluation, say nothing of those before.
    const isNext = this.#since !== undefined && this.#step !== undefined && step > this.#step;
    if (!isNext) this.#since = { step, at: this.#at };
    this.#step = step;
    this.#stepAt = this.#at;
  }

  #measure(name: string, value: number | null): Metric[] {
    if (!this.#metrics.has(name) && this.#metrics.size >= MAX_METRICS) {
      this.problem = `The metric ${name} is one of more than ${MAX_METRICS}.`;
      return [];
    }
    const moment = { step: this.#step ?? 0, at: this.#at };
    this.#metrics.set(name, value);
    this.#measured.set(name, moment);
    return [{ name, value: value ?? Number.NaN, ...moment }];
  }
}

/** From 0 to 1; undefined when the run has not said how many steps there are. */
export function fractionDone({ step, total }: RunProgress): number | undefined {
  return step === undefined || !total ? undefined : Math.min(1, step / total);
}

/** When the last step is done if all take as long as those so far, epoch milliseconds; undefined when nobody can tell. */
export function expectedEnd({ step, total, since, stepAt }: RunProgress): number | undefined {
  if (step === undefined || total === undefined || since === undefined || stepAt === undefined)
    return undefined;
  if (step >= total || step <= since.step || stepAt <= since.at) return undefined;
  const end = Math.round(stepAt + ((stepAt - since.at) / (step - since.step)) * (total - step));
  return end <= LATEST_DATE_MS ? end : undefined;
}

/** Later times are no dates for JavaScript: they could not be shown. */
const LATEST_DATE_MS = 8.64e15;

/** All of this travels with every heartbeat. */
const MAX_METRICS = 64;
const MAX_LINKS = 8;
const MAX_NAME_LENGTH = 100;
const MAX_LINK_LENGTH = 500;
const LINK = `an http address of up to ${MAX_LINK_LENGTH} characters`;

function parseJson(line: string): unknown {
  // Each error costs as much as many good lines do, and whatever a program prints may stand here.
  if (!/^\s*\{/.test(line)) return undefined;
  return (
    tryParse(line) ?? (/NaN|Infinity/.test(line) ? tryParse(line.replaceAll(NO_NUMBERS, 'null')) : undefined)
  );
}

/** As Python's json module writes them, which is no JSON. */
const NO_NUMBERS = /(?<=[:,[]\s*)(?:NaN|-?Infinity)(?=\s*[,}\]])/g;

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number | undefined {
  return value === undefined || (typeof value === 'number' && value >= 0 && value < Infinity);
}

interface NamedValues<T> {
  readonly record: Readonly<Record<string, unknown>>;
  readonly field: 'metrics' | 'links';
  readonly fits: (value: unknown) => value is T;
  /** As the end of a sentence. */
  readonly wanted: string;
}

function readNamed<T>(
  { record, field, fits, wanted }: NamedValues<T>,
  problems: string[],
): Record<string, T> {
  const values = record[field] ?? {};
  const result: Record<string, T> = {};
  if (!isRecord(values)) problems.push(`"${field}" is not an object.`);
  else {
    for (const [name, value] of Object.entries(values)) {
      if (!isName(name)) problems.push(`A name in "${field}" is too long, or has control characters.`);
      else if (fits(value)) result[name] = value;
      else problems.push(`"${name}" in "${field}" is not ${wanted}.`);
    }
  }
  return result;
}

/** Shown on terminals: without control characters. */
function isName(name: string): boolean {
  return name.length <= MAX_NAME_LENGTH && !/\p{Cc}/u.test(name);
}

function isMetric(value: unknown): value is number | null {
  return value === null || typeof value === 'number';
}

function isLink(value: unknown): value is string {
  return (
    typeof value === 'string' && value.length <= MAX_LINK_LENGTH && /^https?:\/\/[\x21-\x7e]+$/.test(value)
  );
}
