/**
 * What a run says of itself while it runs: a line of JSON for each report, any of whose fields may be missing. Later
 * lines override earlier ones, field by field.
 */

/** One line. */
export interface ProgressReport {
  readonly step?: number;
  readonly total?: number;
  /** Null stands for a value that is no number, like the NaN of a loss that has diverged. */
  readonly metrics: Readonly<Record<string, number | null>>;
  readonly links: Readonly<Record<string, string>>;
}

/** All lines so far. Times are epoch milliseconds. */
export interface RunProgress extends ProgressReport {
  /** Where the steps began, for their rate: a run that goes on from a checkpoint does not begin at 0. */
  readonly since?: { readonly step: number; readonly at: number };
  /** When the present step was reported. */
  readonly stepAt?: number;
}

/** The report in a line, or what is wrong with it. Fields with other names are for later versions, and passed over. */
export function parseReport(
  line: string,
): { readonly report: ProgressReport } | { readonly problem: string } {
  const value = parseJson(line);
  if (!isRecord(value)) return { problem: 'it is not a JSON object' };
  const { step, total, metrics = {}, links = {} } = value;
  if (!isCount(step)) return { problem: '"step" is not a number from 0 on' };
  if (!isCount(total)) return { problem: '"total" is not a number from 0 on' };
  if (!isRecord(metrics) || !Object.values(metrics).every(isMetric)) {
    return { problem: '"metrics" is not an object of numbers' };
  }
  if (!isRecord(links) || !Object.values(links).every(isLink)) {
    return { problem: '"links" is not an object of http addresses' };
  }
  return {
    report: {
      ...(step !== undefined && { step }),
      ...(total !== undefined && { total }),
      metrics: metrics as ProgressReport['metrics'],
      links: links as ProgressReport['links'],
    },
  };
}

/** @param at when the report was written, epoch milliseconds */
export function addReport(before: RunProgress | undefined, report: ProgressReport, at: number): RunProgress {
  const { step } = report;
  const after = {
    ...before,
    ...report,
    metrics: merged(before?.metrics, report.metrics, MAX_METRICS),
    links: merged(before?.links, report.links, MAX_LINKS),
  };
  if (step === undefined || step === before?.step) return after;
  // Steps that begin again, for instance after an evaluation, say nothing of those before.
  const isNext = before?.since !== undefined && before.step !== undefined && step > before.step;
  return { ...after, stepAt: at, since: isNext ? before.since : { step, at } };
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

function merged<T>(
  before: Readonly<Record<string, T>> = {},
  more: Readonly<Record<string, T>>,
  most: number,
) {
  const result = { ...before };
  for (const [name, value] of Object.entries(more)) {
    const isKnown = Object.hasOwn(result, name);
    if (isKnown || (Object.keys(result).length < most && isName(name))) result[name] = value;
  }
  return result;
}

/** Shown on terminals: without control characters. */
function isName(name: string): boolean {
  return name.length <= MAX_NAME_LENGTH && !/\p{Cc}/u.test(name);
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return tryParse(line.replaceAll(NO_NUMBERS, 'null'));
  }
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

function isMetric(value: unknown): boolean {
  return value === null || typeof value === 'number';
}

function isLink(value: unknown): boolean {
  return (
    typeof value === 'string' && value.length <= MAX_LINK_LENGTH && /^https?:\/\/[\x21-\x7e]+$/.test(value)
  );
}
