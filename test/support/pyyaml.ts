/** The real PyYAML, as judge of what a YAML text means to the training code that reads it. */
import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';

const VERSION = '6.0.3';
const FOLDER = join(tmpdir(), `mcli-pyyaml-${VERSION}`);

/** Installs PyYAML into a folder of its own, once per machine. */
export async function installPyYaml(): Promise<void> {
  if (existsSync(FOLDER)) return;
  const partial = await mkdtemp(`${FOLDER}-`);
  const packages = ['--quiet', '--disable-pip-version-check', '--target', partial, `pyyaml==${VERSION}`];
  await promisify(execFile)('python3', ['-m', 'pip', 'install', ...packages]);
  // Two test files may arrive here together: the first folder stays.
  await rename(partial, FOLDER).catch(() => rm(partial, { recursive: true }));
}

export interface ParametersPair {
  /** A run file. */
  readonly file: string;
  /** What is mounted as parameters.yaml. */
  readonly parameters: string;
}

/** `equal`, or what PyYAML makes of the two; `unreadable` where it refuses the run file itself. */
export type Verdict = 'equal' | { readonly unreadable: string } | { readonly different: readonly string[] };

/** Compares values and types; NaN equals itself, and 1, 1.0 and True differ. */
export async function compareParameters(pairs: readonly ParametersPair[]): Promise<Verdict[]> {
  return (await python(COMPARE, pairs)) as Verdict[];
}

export interface DumpRequest {
  readonly value: unknown;
  readonly options: Readonly<Record<string, unknown>>;
}

/** Texts that `yaml.dump` makes of values, with its options. */
export async function dumpYaml(requests: readonly DumpRequest[]): Promise<string[]> {
  return (await python(DUMP, requests)) as string[];
}

/** What `yaml.safe_load` makes of texts. */
export async function loadYaml(texts: readonly string[]): Promise<unknown[]> {
  return (await python(LOAD, texts)) as unknown[];
}

async function python(script: string, input: unknown): Promise<unknown> {
  const child = spawn('python3', ['-c', script], {
    env: { ...process.env, PYTHONPATH: FOLDER, PYTHONIOENCODING: 'utf-8' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.end(JSON.stringify(input));
  return JSON.parse(await text(child.stdout));
}

const COMPARE = `
import json, sys, yaml

def plain(value, above=()):
    if id(value) in above:
        return ("recursive", above.index(id(value)))
    above = above + (id(value),)
    if isinstance(value, dict):
        return ("dict", sorted(((plain(k), plain(v, above)) for k, v in value.items()), key=repr))
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, [plain(v, above) for v in value])
    if isinstance(value, set):
        return ("set", sorted((plain(v) for v in value), key=repr))
    return (type(value).__name__, repr(value))

def judge(pair):
    try:
        wanted = (yaml.safe_load(pair["file"]) or {}).get("parameters")
    except Exception as error:
        return {"unreadable": str(error)}
    wanted = plain({} if wanted is None else wanted)
    try:
        got = plain(yaml.safe_load(pair["parameters"]))
    except Exception as error:
        got = "unreadable: " + str(error)
    return "equal" if wanted == got else {"different": [repr(wanted), repr(got)]}

json.dump([judge(pair) for pair in json.load(sys.stdin)], sys.stdout)
`;

const LOAD = `
import json, sys, yaml
json.dump([yaml.safe_load(text) for text in json.load(sys.stdin)], sys.stdout)
`;

const DUMP = `
import json, sys, yaml
json.dump([yaml.dump(r["value"], **r["options"]) for r in json.load(sys.stdin)], sys.stdout)
`;
