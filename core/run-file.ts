/**
 * A run file becomes a RunSpec: older names folded into today's, what can be put right put right with a warning, and
 * everything that is wrong reported at once, with its place in the file.
 */
import { imageReferenceFault } from './image-reference.ts';
import { MAX_RUN_NAME_LENGTH } from './naming.ts';
import { parsePriority, PRIORITIES } from './priority.ts';
import { readEnvironment, readMetadata } from './run-file-environment.ts';
import {
  type Field,
  FieldReader,
  Findings,
  mapFields,
  readNumber,
  readText,
  readWholeNumber,
  unknownField,
  wrongType,
} from './run-file-fields.ts';
import { readExperimentTracker, readIntegrations } from './run-file-integrations.ts';
import { applyOverrides, type OverriddenText, type RunOverrides } from './run-overrides.ts';
import type { LocatedProblem, Warning } from './run-problem.ts';
import type { ComputeRequest, RunSpec, SchedulingRequest } from './run-spec.ts';
import { closest, didYouMean } from './suggest.ts';
import {
  type ContentNode,
  type MapNode,
  readYaml,
  shorten,
  type YamlFile,
  type YamlProblem,
} from './run-yaml.ts';
import { yamlText } from './run-yaml-text.ts';

export type RunFileResult =
  | {
      readonly ok: true;
      readonly spec: RunSpec;
      /** The file with the overrides written into it. */
      readonly submittedYaml: string;
      readonly warnings: readonly Warning[];
    }
  | {
      readonly ok: false;
      readonly problems: readonly LocatedProblem[];
      /** A misspelt field is often the reason of a problem. */
      readonly warnings: readonly Warning[];
    };

/** Read, sent and kept in the history of the run; real files have some ten kilobytes. */
export const MAX_RUN_FILE_BYTES = 512 * 1024;

/** All problems of the file at once, in the order of their lines. */
export function readRunFile(
  text: string,
  options: { readonly overrides?: RunOverrides } = {},
): RunFileResult {
  const unfit = unfitText(text);
  if (unfit !== undefined) return refused([unfit]);
  const original = readYaml(text);
  if (original.syntaxProblems.length > 0) return refused(syntaxProblems(text, original));
  if (original.root?.type !== 'map') return refused([notAMapping(text, original.root)]);
  const overridden = applyOverrides(text, original.root, options.overrides ?? {});
  return readOverridden({ text, file: original }, overridden);
}

function readOverridden(
  original: { readonly text: string; readonly file: YamlFile },
  overridden: OverriddenText,
): RunFileResult {
  // Nearly always no flag is given, and parsing is most of the work.
  const read = overridden.text === original.text ? original.file : readYaml(overridden.text);
  const { root, syntaxProblems: broken, problems } = read;
  const locate = locator(original.text, overridden);
  if (root?.type !== 'map' || broken.length > 0) {
    return refused([...overridden.problems, ...broken.map((each) => locate({ path: '', ...each }))]);
  }
  const findings = new Findings();
  const spec = readSpec(findings, root);
  const found = [...problems.map((each) => ({ path: '', ...each })), ...findings.problems];
  const located = [...overridden.problems, ...found.map(locate).toSorted(byPlace)];
  const warnings = findings.warnings.map(locate).toSorted(byPlace);
  if (spec === undefined || located.length > 0) return refused(located, warnings);
  return { ok: true, spec, submittedYaml: overridden.text, warnings };
}

/** The same mistake is told once, however often it was met in one place. */
function refused(problems: readonly LocatedProblem[], warnings: readonly Warning[] = []): RunFileResult {
  const distinct = new Map(problems.map((each) => [`${each.line ?? each.path}:${each.message}`, each]));
  return { ok: false, problems: [...distinct.values()], warnings };
}

/** What is seen before a word is read. */
function unfitText(text: string): LocatedProblem | undefined {
  const bytes = new TextEncoder().encode(text).length;
  if (bytes > MAX_RUN_FILE_BYTES) {
    return {
      path: '',
      message: `The file has ${Math.ceil(bytes / 1024)} KiB; a run file may have ${MAX_RUN_FILE_BYTES / 1024} KiB`,
      why: 'it is kept in the history of the run',
      fix: 'keep data out of it: clone it with a git_repo integration, or load it in the command',
    };
  }
  if (!text.includes('\0')) return undefined;
  return {
    path: '',
    ...placeOf(text, text.indexOf('\0')),
    message: 'The file is binary, not YAML',
    why: 'it has NUL bytes in it',
    fix: 'give the path of a run file; if it is one, save it as UTF-8 text',
  };
}

/** With what else is wrong ahead of the first error; behind it, nothing can be told. */
function syntaxProblems(text: string, file: YamlFile): LocatedProblem[] {
  const firstOffset = Math.min(...file.syntaxProblems.map(({ offset }) => offset));
  const ahead = file.problems.filter(({ offset }) => offset < firstOffset);
  const findings = new Findings();
  if (file.root?.type === 'map') readSpec(findings, file.root);
  const fields = findings.problems.filter(
    ({ offset, path }) => offset < firstOffset && !isMissing(file, path),
  );
  const all = [...file.syntaxProblems, ...ahead].map((each) => ({ path: '', ...each }));
  return [...all, ...fields].map((each) => locator(text, undefined)(each)).toSorted(byPlace);
}

function isMissing(file: YamlFile, path: string): boolean {
  return file.root?.type === 'map' && !mapFields('', file.root).some((field) => path.startsWith(field.path));
}

function notAMapping(text: string, root: ContentNode | undefined): LocatedProblem {
  const example = 'start from: name: my-run, image: bash, command: echo hello - each on a line of its own';
  if (root === undefined || text.trim() === '') {
    return { path: '', line: 1, column: 1, message: 'The file is empty', fix: example };
  }
  return {
    path: '',
    ...placeOf(text, root.start),
    message: `A run file is a mapping of fields, not ${root.type === 'seq' ? 'a list' : `the text ${shorten(root.type === 'scalar' ? root.text : '')}`}`,
    fix: example,
  };
}

const DEPLOYMENT_FIELDS = ['replicas', 'model', 'default_model'];

function readSpec(findings: Findings, root: MapNode): RunSpec | undefined {
  const deployment = mapFields('', root).filter(({ name }) => DEPLOYMENT_FIELDS.includes(name));
  if (deployment[0] !== undefined) {
    const names = deployment.map(({ name }) => name).join(', ');
    return findings.refuse(
      { path: deployment[0].path, offset: deployment[0].keyOffset },
      {
        message: 'This is a deployment file, not a run file',
        why: `runs have no ${names}`,
        fix: 'mcli runs training; if this is a run, remove the field',
      },
    );
  }
  const file = new FieldReader(findings, { path: '', offset: root.start }, root);
  const name = readName(file);
  const image = readImage(file);
  const command = readCommand(file);
  const spec = {
    compute: readCompute(file),
    scheduling: readScheduling(file),
    integrations: [
      ...readIntegrations(findings, file.get('integrations')),
      ...readExperimentTracker(file.map('experiment_tracker')),
    ],
    envVariables: readEnvironment(findings, file.get('env_variables')),
    parametersYaml: readParameters(file),
    metadata: readMetadata(findings, file.get('metadata')),
  };
  const parentName = file.text('parent_name');
  noteUnused(file);
  file.warnUnknown(unknownTopLevel);
  if (name === undefined || image === undefined || command === undefined) return undefined;
  return { name, image, command, ...spec, ...(parentName === undefined ? {} : { parentName }) };
}

function readName(file: FieldReader): string | undefined {
  const field = withOlderName(file, 'name', 'name', ['run_name']);
  if (field === undefined) return missing(file, 'name', 'my-run');
  const text = readText(file.findings, field)?.trim();
  if (text === undefined) return undefined;
  if (text === '') return missing(file, 'name', 'my-run');
  if (text.length > MAX_RUN_NAME_LENGTH) {
    return file.findings.refuse(field, {
      message: `${field.path} has ${text.length} characters; ${MAX_RUN_NAME_LENGTH} are allowed`,
      why: 'a suffix is added, and the whole is a host name',
      fix: 'shorten it',
    });
  }
  const valid = toRunName(text);
  if (valid !== text) {
    file.findings.warn(
      field,
      `The run name ${text} becomes ${valid}: names have lower-case letters, digits and -, and a letter or digit at both ends`,
    );
  }
  return valid;
}

function toRunName(text: string): string {
  return text
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]/g, '-')
    .replace(/^-/, '1')
    .replace(/-$/, '1');
}

function readImage(file: FieldReader): string | undefined {
  const field = file.get('image');
  const image = readText(file.findings, field)?.trim();
  if (field === undefined || image === '') return missing(file, 'image', 'bash');
  const fault = image === undefined ? undefined : imageReferenceFault(image);
  if (fault === undefined) return image;
  return file.findings.refuse(field, {
    message: `The image name ${shorten(image ?? '')} is not valid`,
    why: fault,
    fix: 'write it as for docker pull, like ghcr.io/org/name:tag',
  });
}

function readCommand(file: FieldReader): string | undefined {
  const command = file.get('command');
  const entrypoint = file.get('entrypoint');
  if (command !== undefined && entrypoint !== undefined) {
    return file.findings.refuse(
      { path: 'entrypoint', offset: entrypoint.keyOffset },
      {
        message: 'The file has both command and entrypoint',
        why: 'entrypoint is the old name of command',
        fix: 'keep command only',
      },
    );
  }
  const field = withOlderName(file, 'command', 'command', ['entrypoint']);
  const text = readText(file.findings, field)?.trim();
  if (field === undefined || text === '') return missing(file, 'command', 'python train.py');
  return text;
}

function readCompute(file: FieldReader): ComputeRequest {
  const { findings } = file;
  const compute = file.map('compute');
  const field = (name: string, legacy: readonly string[] = []): Field | undefined => {
    const older = withOlderName(file, `compute.${name}`, undefined, legacy);
    return compute?.get(name) ?? older;
  };
  const cluster = readText(findings, field('cluster', ['cluster', 'platform']));
  const instance = readText(findings, field('instance'));
  const nodes = readWholeNumber(findings, field('nodes'), 1);
  const nodeNames = compute?.textList('node_names');
  const gpuType = readGpuType(field('gpu_type', ['gpu_type']));
  const gpusField = field('gpus', ['gpu_num']);
  const gpus = readWholeNumber(findings, gpusField, 0);
  const cpus = readWholeNumber(findings, field('cpus', ['cpus']), 0);
  compute?.warnUnknown(unknownField);
  if (gpusField !== undefined && gpus !== undefined && nodes !== undefined && gpus % nodes !== 0) {
    findings.refuse(gpusField, {
      message: `${gpusField.path}: ${gpus} GPUs can't be shared equally by ${nodes} nodes`,
      why: 'every node of a run takes the same number of GPUs',
      fix: `ask for ${nearestMultiples(gpus, nodes)} GPUs, or leave compute.nodes out`,
    });
  }
  return {
    ...(cluster === undefined ? {} : { cluster }),
    ...(instance === undefined ? {} : { instance }),
    ...(nodes === undefined ? {} : { nodes }),
    ...(nodeNames === undefined || nodeNames.length === 0 ? {} : { nodeNames }),
    ...(gpuType === undefined ? {} : { gpuType }),
    ...(gpus === undefined ? {} : { gpus }),
    ...(cpus === undefined ? {} : { cpus }),
  };

  /** `gpu_type: 3090` is a number to YAML, and a name all the same. */
  function readGpuType(type: Field | undefined): string | undefined {
    if (type?.node.type === 'scalar' && type.node.value.kind === 'int') return type.node.text;
    return readText(findings, type);
  }
}

function nearestMultiples(gpus: number, nodes: number): string {
  const below = Math.floor(gpus / nodes) * nodes;
  return below === 0 ? String(nodes) : `${below} or ${below + nodes}`;
}

/** Retries after failures of the command, when the file asks for retries and names no number. */
const WATCHDOG_MAX_RETRIES = 10;

function readScheduling(file: FieldReader): SchedulingRequest {
  const { findings } = file;
  const reader = file.map('scheduling');
  const watchdog = ['retry_on_system_failure', 'retryOnSystemFailure', 'watchdogEnabled']
    .map((name) => reader?.boolean(name))
    .find((value) => value !== undefined);
  // Of no effect for years, and in half of all files.
  reader?.get('resumable');
  const maxDurationHours = readHours(findings, reader?.get('max_duration'));
  const gracePeriodSeconds = readGracePeriod(findings, reader?.get('grace_period'));
  const scheduling = {
    priority: readPriority(findings, reader?.get('priority')),
    preemptible: reader?.boolean('preemptible') ?? false,
    maxRetries: reader?.wholeNumber('max_retries', 0) ?? (watchdog === true ? WATCHDOG_MAX_RETRIES : 0),
    retryOnSystemFailure: watchdog ?? true,
    ...(maxDurationHours === undefined ? {} : { maxDurationHours }),
    ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
  };
  reader?.warnUnknown(unknownField);
  return scheduling;
}

function readPriority(findings: Findings, field: Field | undefined): SchedulingRequest['priority'] {
  const text = readText(findings, field);
  if (field === undefined || text === undefined) return 'medium';
  const priority = parsePriority(text);
  if (priority !== undefined) return priority;
  findings.refuse(field, {
    message: `${field.path} ${shorten(text)} is not known${didYouMean(text, PRIORITIES)}`,
    fix: `use one of ${PRIORITIES.join(', ')}, or auto`,
  });
  return 'medium';
}

function readHours(findings: Findings, field: Field | undefined): number | undefined {
  if (field === undefined) return undefined;
  const hours = readNumber(findings, field, 'a number of hours');
  if (hours === undefined) return undefined;
  if (hours > 0 && Number.isFinite(hours)) return hours;
  return findings.refuse(field, {
    message: `${field.path} must be more than 0 hours, not ${hours}`,
    fix: 'leave it out for a run without a limit',
  });
}

/** An hour: whoever stops a run waits for it, and so does the next run on its GPUs. */
const MAX_GRACE_SECONDS = 3_600;

function readGracePeriod(findings: Findings, field: Field | undefined): number | undefined {
  if (field === undefined) return undefined;
  const seconds = readNumber(findings, field, 'a number of seconds');
  if (seconds === undefined) return undefined;
  if (seconds >= 0 && seconds <= MAX_GRACE_SECONDS) return seconds;
  return findings.refuse(field, {
    message: `${field.path} must be 0 to ${MAX_GRACE_SECONDS} seconds, not ${seconds}`,
    fix: 'leave it out for 30 seconds',
  });
}

function readParameters(file: FieldReader): string {
  const field = file.get('parameters');
  if (field === undefined) return '{}\n';
  if (field.node.type !== 'map' || field.node.tag === 'set') {
    file.findings.refuse(field, wrongType(field, 'a mapping', 'parameters: {key: value}'));
    return '{}\n';
  }
  return yamlText(field.node);
}

/** The field under its name, or under an older one, with a warning; null counts as missing. */
function withOlderName(
  file: FieldReader,
  today: string,
  name: string | undefined,
  older: readonly string[],
): Field | undefined {
  const current = name === undefined ? undefined : file.get(name);
  const found = older.map((each) => file.get(each));
  for (const field of found) {
    if (field === undefined) continue;
    file.findings.warn(
      { path: field.path, offset: field.keyOffset },
      `${field.path} is deprecated: use ${today}`,
    );
  }
  return current ?? found.find((field) => field !== undefined);
}

/** Fields that once had a meaning, or have one elsewhere. */
function noteUnused(file: FieldReader): void {
  for (const [name, why] of [
    ['optimization_level', 'has no effect any more'],
    ['partitions', 'has no effect any more'],
    ['dependent_deployment', 'is not supported'],
  ] as const) {
    const field = file.get(name);
    if (field === undefined) continue;
    file.findings.warn({ path: name, offset: field.keyOffset }, `${name} ${why}, and is left out`);
  }
}

const TODAYS_FIELDS = [
  'name',
  'image',
  'command',
  'compute',
  'scheduling',
  'integrations',
  'env_variables',
  'parameters',
  'metadata',
  'parent_name',
];

/** Where a field belongs that people put at the top level. */
const HOMES: Readonly<Record<string, string>> = {
  gpus: 'compute.gpus',
  nodes: 'compute.nodes',
  node_names: 'compute.node_names',
  instance: 'compute.instance',
  priority: 'scheduling.priority',
  preemptible: 'scheduling.preemptible',
  max_retries: 'scheduling.max_retries',
  max_duration: 'scheduling.max_duration',
  retry_on_system_failure: 'scheduling.retry_on_system_failure',
  git_repo: 'integrations',
};

function unknownTopLevel(name: string): string {
  const home = Object.hasOwn(HOMES, name) ? HOMES[name] : undefined;
  const hint =
    home === undefined
      ? didYouMean(name, [...TODAYS_FIELDS, ...Object.keys(HOMES)])
      : ` (did you mean ${home}?)`;
  return `Unknown field ${name} is not used${hint}`;
}

function missing(file: FieldReader, name: string, example: string): undefined {
  const meant = closest(
    name,
    file.unasked().filter((each) => !TODAYS_FIELDS.includes(each)),
  );
  return file.findings.refuse(file.get(name) ?? { path: name, offset: file.offset }, {
    message: `The file has no ${name}`,
    fix: meant === undefined ? `add ${name}: ${example}` : `rename ${meant} to ${name}`,
  });
}

/** From places in the text that was read to places in the file that the user knows, or to flags. */
function locator(
  original: string,
  overridden: OverriddenText | undefined,
): (finding: YamlProblem & { readonly path: string }) => LocatedProblem {
  return ({ offset, otherOffset, path, message, ...rest }) => {
    const origin = overridden?.locate(offset) ?? { offset };
    if ('flag' in origin) {
      const isSubject = path !== '' && message.startsWith(path);
      const named = isSubject ? `${origin.flag}${message.slice(path.length)}` : `${origin.flag}: ${message}`;
      return { path: origin.flag, message: named, ...rest };
    }
    if (otherOffset === undefined) return { path, ...placeOf(original, origin.offset), message, ...rest };
    const other = overridden?.locate(otherOffset) ?? { offset: otherOffset };
    const { line, column } = placeOf(original, 'flag' in other ? 0 : other.offset);
    return {
      path,
      ...placeOf(original, origin.offset),
      message: `${message}: first on line ${line}, column ${column}`,
      ...rest,
    };
  };
}

function placeOf(text: string, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset);
  const breaks = [...before.matchAll(/\r\n|[\r\n\u0085]/g)];
  const last = breaks.at(-1);
  return {
    line: breaks.length + 1,
    column: offset - (last === undefined ? 0 : last.index + last[0].length) + 1,
  };
}

function byPlace(a: LocatedProblem, b: LocatedProblem): number {
  return (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0);
}
