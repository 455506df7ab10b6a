/** Reads cluster logs: Standard Workload Format (plain or gzipped), and CSV with submit_time, num_gpu, duration. */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { gunzipSync } from 'node:zlib';

/** All times are seconds, as in the logs. */
export interface TraceJob {
  readonly submit: number;
  readonly ran: number;
  /** Processors or GPUs. */
  readonly units: number;
  readonly limit?: number;
  readonly user: string;
  readonly name: string;
}

export interface Trace {
  readonly name: string;
  /** By submission. */
  readonly jobs: readonly TraceJob[];
  /** As the header of the log says; undefined where it does not. */
  readonly capacity?: number;
  /** Lines that describe no job that ran. */
  readonly skipped: number;
}

/** @throws Error when the file cannot be read or holds no jobs. */
export function readTrace(file: string): Trace {
  const bytes = readFileSync(file);
  const text = (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8');
  const { jobs, ...rest } = file.endsWith('.csv') ? parseCsv(text) : parseSwf(text);
  if (jobs.length === 0) throw new Error(`${file} holds no jobs: expected SWF lines, or CSV with a header`);
  return { name: basename(file), jobs: jobs.toSorted((a, b) => a.submit - b.submit), ...rest };
}

type Parsed = Omit<Trace, 'name'>;

function parseSwf(text: string): Parsed {
  const jobs: TraceJob[] = [];
  let capacity: number | undefined;
  let skipped = 0;
  for (const line of text.split('\n')) {
    if (line.startsWith(';')) {
      const header = /^;\s*Max(?:Procs|Nodes):\s*(\d+)/.exec(line);
      if (header !== null) capacity = Math.max(capacity ?? 0, Number(header[1]));
      continue;
    }
    if (line.trim() === '') continue;
    const fields = line.trim().split(/\s+/).map(Number);
    const field = (index: number): number => fields[index] ?? -1;
    const units = field(7) > 0 ? field(7) : field(4);
    if (units <= 0 || field(3) < 0) {
      skipped += 1;
      continue;
    }
    jobs.push({
      submit: field(1),
      ran: field(3),
      units,
      ...(field(8) > 0 && { limit: field(8) }),
      user: `u${field(11)}`,
      // The executable, where the log has one.
      name: `app${field(13)}`,
    });
  }
  return { jobs, skipped, ...(capacity !== undefined && { capacity }) };
}

function parseCsv(text: string): Parsed {
  const [header = '', ...lines] = text.trim().split(/\r?\n/);
  const columns = header.split(',');
  const column = (row: readonly string[], name: string): string | undefined => row[columns.indexOf(name)];
  const jobs: TraceJob[] = [];
  for (const line of lines) {
    const row = line.split(',');
    const limit = Number(column(row, 'time_limit') ?? NaN);
    jobs.push({
      submit: Number(column(row, 'submit_time')),
      ran: Number(column(row, 'duration')),
      units: Number(column(row, 'num_gpu')),
      ...(limit > 0 && { limit }),
      user: column(row, 'user') ?? 'all',
      name: column(row, 'model_name') ?? column(row, 'name') ?? 'any',
    });
  }
  const valid = jobs.filter(({ submit, ran, units }) => submit >= 0 && ran >= 0 && units > 0);
  return { jobs: valid, skipped: jobs.length - valid.length };
}
