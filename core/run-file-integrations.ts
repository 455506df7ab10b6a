/** The integrations of a run file, and the older `experiment_tracker`, which means the same as two of them. */
import type { Integration, TrackerIntegration } from './run-spec.ts';
import {
  type Field,
  FieldReader,
  type Findings,
  listItems,
  shown,
  unknownField,
  wrongType,
} from './run-file-fields.ts';
import { isStartable } from './run-file-environment.ts';
import { packageWords, splitShellWords } from './shell-words.ts';
import { closest } from './suggest.ts';

export function readIntegrations(findings: Findings, field: Field | undefined): readonly Integration[] {
  if (field === undefined) return [];
  if (field.node.type !== 'seq') {
    findings.refuse(
      field,
      wrongType(field, 'a list of mappings', '- {integration_type: pip_packages, packages: [numpy]}'),
    );
    return [];
  }
  return listItems(field).flatMap((item) => readIntegration(findings, item) ?? []);
}

/** What `experiment_tracker` asks for, as integrations. */
export function readExperimentTracker(tracker: FieldReader | undefined): readonly Integration[] {
  if (tracker === undefined) return [];
  const mlflow = tracker.map('mlflow');
  const wandb = tracker.map('wandb');
  const integrations = [
    ...(mlflow === undefined ? [] : [readTracker(mlflow, 'mlflow', TRACKERS.experiment_tracker_mlflow)]),
    ...(wandb === undefined ? [] : [readTracker(wandb, 'wandb', TRACKERS.wandb)]),
  ];
  for (const reader of [tracker, mlflow, wandb]) reader?.warnUnknown(unknownField);
  return integrations;
}

/** How a tracker's fields become environment variables; the container's agent adds WANDB_NAME, the run's own name. */
export const TRACKERS = {
  wandb: [
    { names: ['project'], variable: 'WANDB_PROJECT' },
    { names: ['entity'], variable: 'WANDB_ENTITY' },
    { names: ['group'], variable: 'WANDB_RUN_GROUP' },
    { names: ['job_type'], variable: 'WANDB_JOB_TYPE' },
    { names: ['tags'], variable: 'WANDB_TAGS', list: true },
  ],
  comet_ml: [
    { names: ['project', 'project_name'], variable: 'COMET_PROJECT_NAME' },
    { names: ['workspace'], variable: 'COMET_WORKSPACE' },
  ],
  mlflow: [
    { names: ['experiment_name'], variable: 'MLFLOW_EXPERIMENT_NAME', required: true },
    { names: ['tracking_uri'], variable: 'MLFLOW_TRACKING_URI' },
  ],
  experiment_tracker_mlflow: [
    { names: ['experiment_path'], variable: 'MLFLOW_EXPERIMENT_NAME', required: true },
    { names: ['tracking_uri'], variable: 'MLFLOW_TRACKING_URI' },
  ],
} as const satisfies Record<string, readonly TrackerField[]>;

interface TrackerField {
  /** The first is the one to write. */
  readonly names: readonly [string, ...string[]];
  readonly variable: string;
  readonly list?: boolean;
  readonly required?: boolean;
}

const TYPES = ['git_repo', 'pip_packages', 'apt_packages', 'wandb', 'mlflow', 'comet_ml'] as const;

function readIntegration(findings: Findings, item: Field): Integration | undefined {
  if (item.node.type !== 'map') {
    return findings.refuse(item, wrongType(item, 'a mapping', '- integration_type: git_repo'));
  }
  const reader = new FieldReader(findings, item, item.node);
  const typeField = reader.first('integration_type', 'type');
  if (typeField === undefined) {
    return findings.refuse(item, {
      message: `${item.path} has no integration_type`,
      fix: `add integration_type: one of ${TYPES.join(', ')}`,
    });
  }
  const name = typeField.node.type === 'scalar' ? typeField.node.text : shown(typeField.node);
  const type = TYPES.find((each) => each === name);
  if (type === undefined) {
    const meant = closest(name, TYPES);
    return findings.refuse(typeField, {
      message: `${typeField.path} ${name} is not known`,
      why: `there are ${TYPES.join(', ')}`,
      ...(meant === undefined ? {} : { fix: `did you mean ${meant}?` }),
    });
  }
  const integration = readTyped(reader, type);
  reader.warnUnknown(unknownField);
  return integration;
}

function readTyped(reader: FieldReader, type: (typeof TYPES)[number]): Integration | undefined {
  switch (type) {
    case 'git_repo':
      return readGitRepo(reader);
    case 'pip_packages': {
      const packages = readPackages(reader);
      return packages && { type, packages, upgrade: reader.boolean('upgrade') ?? false };
    }
    case 'apt_packages': {
      const packages = readPackages(reader);
      return packages && { type, packages };
    }
    default:
      return readTracker(reader, type, TRACKERS[type]);
  }
}

function readGitRepo(reader: FieldReader): Integration | undefined {
  const gitRepo = reader.filledText('git_repo');
  const gitBranch = reader.filledText('git_branch');
  const gitCommit = reader.filledText('git_commit');
  const path = reader.filledText('path');
  const pipInstall = readPipInstall(reader);
  const sshClone = reader.boolean('ssh_clone') ?? true;
  const host = readGitHost(reader) ?? 'github.com';
  const recursive = reader.boolean('git_clone_recursive') ?? false;
  if (gitBranch !== undefined && gitCommit !== undefined) {
    reader.findings.warn(
      reader,
      `${reader.path} has git_branch ${gitBranch} and git_commit ${gitCommit}: the commit is used`,
    );
  }
  if (gitRepo === undefined) return missing(reader, 'git_repo', 'org/repo');
  return {
    type: 'git_repo',
    gitRepo: gitRepo.trim(),
    ...(gitBranch === undefined ? {} : { gitBranch }),
    ...(gitCommit === undefined ? {} : { gitCommit }),
    ...(path === undefined ? {} : { path }),
    ...(pipInstall === undefined ? {} : { pipInstall }),
    sshClone,
    host,
    recursive,
  };
}

const GIT_HOST = /^(?:[\w.-]+|\[[\da-fA-F:]+\])(?::\d+)?$/;

function readGitHost(reader: FieldReader): string | undefined {
  const field = reader.get('host');
  const host = reader.filledText('host')?.trim();
  if (field === undefined || host === undefined || GIT_HOST.test(host)) return host;
  const meant = host
    .replace(/^[a-z+]+:\/\//, '')
    .replace(/^[^@/]*@/, '')
    .replace(/\/.*$/, '');
  return reader.findings.refuse(field, {
    message: `${field.path} ${host} is not a host`,
    why: 'it is a name or an address, and perhaps a port: git.example:8443',
    ...(GIT_HOST.test(meant) ? { fix: `did you mean ${meant}?` } : {}),
  });
}

function readPipInstall(reader: FieldReader): string | undefined {
  const field = reader.get('pip_install');
  const words = reader.filledText('pip_install');
  if (field === undefined || words === undefined) return undefined;
  return canBeSplit(reader.findings, field, () => splitShellWords(words)) ? words : undefined;
}

function canBeSplit(findings: Findings, field: Field, split: () => unknown): boolean {
  try {
    split();
    return true;
  } catch (error) {
    findings.refuse(field, {
      message: `${field.path} cannot be split into words`,
      why: (error as RangeError).message,
      fix: 'close the quote, or leave it out',
    });
    return false;
  }
}

function readPackages(reader: FieldReader): readonly string[] | undefined {
  const field = reader.get('packages');
  const packages = reader.textList('packages');
  if (field === undefined || packages === undefined || packages.length === 0) {
    return missing(reader, 'packages', '[numpy]');
  }
  for (const entry of listItems(field)) {
    const { node } = entry;
    if (node.type !== 'scalar') continue;
    if (node.text.trim() === '') reader.findings.refuse(entry, { message: `${entry.path} is empty` });
    canBeSplit(reader.findings, entry, () => packageWords(node.text));
  }
  return packages;
}

function readTracker(
  reader: FieldReader,
  type: TrackerIntegration['type'],
  fields: readonly TrackerField[],
): TrackerIntegration {
  const environment: Record<string, string> = {};
  for (const { names, variable, list, required } of fields) {
    const field = reader.first(...names);
    const name = names.find((each) => reader.get(each) !== undefined) ?? names[0];
    const value =
      list === true && field?.node.type === 'seq'
        ? reader.textList(name)?.join(',')
        : reader.filledText(name);
    if (field === undefined || value === undefined) {
      if (required === true) missing(reader, name, 'my-experiment');
    } else if (isStartable(reader.findings, field, { name: variable, text: value })) {
      environment[variable] = value;
    }
  }
  return { type, environment };
}

function missing(reader: FieldReader, name: string, example: string): undefined {
  const { findings, path } = reader;
  // A value of the wrong type is a problem already.
  const isRefused = findings.problems.some((problem) => problem.path.startsWith(`${path}.${name}`));
  if (reader.get(name) !== undefined && isRefused) return;
  findings.refuse(reader, { message: `${path} has no ${name}`, fix: `add ${name}: ${example}` });
}
