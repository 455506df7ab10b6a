import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { MAX_RUN_FILE_BYTES, readRunFile } from '../../core/run-file.ts';
import type { RunSpec } from '../../core/run-spec.ts';

const CORPUS = join(import.meta.dirname, '../../../shared/corpus');
const HEAD = 'name: a\nimage: bash\ncommand: echo\n';

describe('the real files of the corpus (in ../shared)', () => {
  test.skipIf(!existsSync(CORPUS))('load, with warnings where the original warns', () => {
    const warnings = readdirSync(CORPUS).flatMap((name) => {
      const result = readRunFile(readFileSync(join(CORPUS, name), 'utf8'));
      if (!result.ok) throw new Error(`${name}: ${JSON.stringify(result.problems)}`);
      return result.warnings.map(
        ({ line, path }) => `${name.replace(/^.*__(.*__.*)\.yaml$/, '$1')}:${line} ${path}`,
      );
    });
    expect(warnings).toEqual([
      'yamls__mcloud_run:9 name',
      'mcli_yamls__convert_checkpoint_to_huggingface:1 name',
      'finetune__finetune_30b_chat:1 name',
      'finetune__finetune_composer_codebase:1 name',
      'nemo__multi_node:12 env_variables',
      'nemo__single_node:1 run_name',
      'nemo__single_node:2 cluster',
      'nemo__single_node:3 gpu_num',
      'nemo__single_node:10 env_variables',
      'trlx__multi_node:1 run_name',
      'trlx__multi_node:3 gpu_num',
      'trlx__single_node:1 run_name',
      'trlx__single_node:3 gpu_num',
    ]);
  });
});

test('a minimal file gets the defaults', () => {
  expect(specOf('name: hello-world\nimage: bash\ncommand: |\n\n  echo hi\n')).toEqual({
    name: 'hello-world',
    image: 'bash',
    command: 'echo hi',
    compute: {},
    scheduling: { priority: 'medium', preemptible: false, maxRetries: 0, retryOnSystemFailure: true },
    integrations: [],
    envVariables: {},
    parametersYaml: '{}\n',
    metadata: {},
  });
});

describe('oddities of real files are accepted', () => {
  test('empty values, as templates have them', () => {
    const text = `${HEAD}compute:\n  gpus:\n  gpu_type:\n  cluster: # FILL IN\nenv_variables:\nscheduling:\nintegrations:\n- integration_type: wandb\n  project: p\n  entity:\n`;
    const spec = specOf(text);
    expect(spec.compute).toEqual({});
    expect(spec.integrations).toEqual([{ type: 'wandb', environment: { WANDB_PROJECT: 'p' } }]);
  });

  test('blank texts in integrations, which say as little as empty values', () => {
    const text = `${HEAD}integrations:
- {type: git_repo, git_repo: o/r, git_branch: '', git_commit: ' ', path: '', pip_install: '', host: ''}
- {type: mlflow, experiment_name: e, tracking_uri: ''}
- {type: wandb, project: '', entity: '', tags: ''}
`;
    expect(read(text)).toEqual({
      warnings: [],
      spec: expect.objectContaining({
        integrations: [
          { type: 'git_repo', gitRepo: 'o/r', sshClone: true, host: 'github.com', recursive: false },
          { type: 'mlflow', environment: { MLFLOW_EXPERIMENT_NAME: 'e' } },
          { type: 'wandb', environment: {} },
        ],
      }),
    });
  });

  test('names of version 0.2', () => {
    const result = read(
      'run_name: old\nplatform: r1z1\ngpu_num: 8\ngpu_type: 3090\ncpus: 4\noptimization_level: 0\nimage: a\ncommand: x\n',
    );
    expect(result.spec.name).toBe('old');
    expect(result.spec.compute).toEqual({ cluster: 'r1z1', gpuType: '3090', gpus: 8, cpus: 4 });
    expect(result.warnings).toEqual([
      '1: run_name is deprecated: use name',
      '2: platform is deprecated: use compute.cluster',
      '3: gpu_num is deprecated: use compute.gpus',
      '4: gpu_type is deprecated: use compute.gpu_type',
      '5: cpus is deprecated: use compute.cpus',
      '6: optimization_level has no effect any more, and is left out',
    ]);
  });

  test('the compute section wins over older names', () => {
    const { spec, warnings } = read(`${HEAD}gpu_num: 1\ncluster: old\ncompute: {gpus: 8}\n`);
    expect(spec.compute).toEqual({ cluster: 'old', gpus: 8 });
    expect(warnings).toEqual([
      '4: gpu_num is deprecated: use compute.gpus',
      '5: cluster is deprecated: use compute.cluster',
    ]);
  });

  test('entrypoint instead of command', () => {
    expect(specOf('name: a\nimage: b\nentrypoint: run me\n').command).toBe('run me');
  });

  test('environment variables as a list, with names nobody needs', () => {
    const text = `${HEAD}env_variables:\n- {name: first, key: A, value: '1'}\n- {key: B, value: 2}\n- key: C\n  value:\n`;
    expect(specOf(text).envVariables).toEqual({ A: '1', B: '2', C: '' });
  });

  test('environment variables that are no text, as the text that Python makes of them', () => {
    const result = read(
      `${HEAD}env_variables: {A: 1, B: True, C: true, D: off, E: 1.10, F: 012, G: 1e-4, H: 1.0e-5, I: , J: 2020-01-01, K: .inf}\n`,
    );
    expect(result.spec.envVariables).toEqual({
      A: '1',
      B: 'True',
      C: 'True',
      D: 'False',
      E: '1.1',
      F: '10',
      G: '1e-4',
      H: '1e-05',
      I: '',
      J: '2020-01-01',
      K: 'inf',
    });
    expect(result.warnings).toHaveLength(6);
    expect(result.warnings[2]).toBe(
      '4: env_variables.E is set to 1.1: that is how YAML reads 1.10; put quotes around it to keep the text',
    );
  });

  test('no choice of GPUs, since a run has those that it holds', () => {
    const { spec, warnings } = read(`${HEAD}env_variables: {NVIDIA_VISIBLE_DEVICES: all, A: b}\n`);
    expect(spec.envVariables).toEqual({ A: 'b' });
    expect(warnings).toEqual([
      '4: env_variables.NVIDIA_VISIBLE_DEVICES is ignored: a run sees the GPUs that it holds, and no others',
    ]);
  });

  test('scheduling under old names, and the dead resumable', () => {
    const text = `${HEAD}scheduling: {resumable: true, priority: auto, retryOnSystemFailure: false, max_duration: 1.5}\n`;
    expect(read(text)).toEqual({
      warnings: [],
      spec: expect.objectContaining({
        scheduling: {
          priority: 'medium',
          preemptible: false,
          maxRetries: 0,
          retryOnSystemFailure: false,
          maxDurationHours: 1.5,
        },
      }),
    });
    expect(specOf(`${HEAD}scheduling: {watchdogEnabled: true}\n`).scheduling.maxRetries).toBe(10);
  });

  test('every integration, under its older key too', () => {
    const text = `${HEAD}integrations:
- {type: git_repo, git_repo: org/repo, git_commit: 0123456, git_branch: 1.10, ssh_clone: 'False', pip_install: '-e ".[gpu]"', git_clone_recursive: true}
- {integration_type: pip_packages, packages: ['a>=1', 'b[c]', "it's"], upgrade: true}
- {integration_type: apt_packages, packages: [parallel]}
- {integration_type: wandb, project: p, entity: e, group: g, job_type: j, tags: [x, 1]}
- {integration_type: comet_ml, project_name: p, workspace: w}
- {integration_type: mlflow, experiment_name: /e}
experiment_tracker:
  mlflow: {experiment_path: /f, tracking_uri: u}
`;
    const result = read(text);
    expect(result.spec.integrations).toEqual([
      {
        type: 'git_repo',
        gitRepo: 'org/repo',
        gitBranch: '1.10',
        gitCommit: '0123456',
        pipInstall: '-e ".[gpu]"',
        sshClone: false,
        host: 'github.com',
        recursive: true,
      },
      { type: 'pip_packages', packages: ['a>=1', 'b[c]', "it's"], upgrade: true },
      { type: 'apt_packages', packages: ['parallel'] },
      {
        type: 'wandb',
        environment: {
          WANDB_PROJECT: 'p',
          WANDB_ENTITY: 'e',
          WANDB_RUN_GROUP: 'g',
          WANDB_JOB_TYPE: 'j',
          WANDB_TAGS: 'x,1',
        },
      },
      { type: 'comet_ml', environment: { COMET_PROJECT_NAME: 'p', COMET_WORKSPACE: 'w' } },
      { type: 'mlflow', environment: { MLFLOW_EXPERIMENT_NAME: '/e' } },
      { type: 'mlflow', environment: { MLFLOW_EXPERIMENT_NAME: '/f', MLFLOW_TRACKING_URI: 'u' } },
    ]);
    expect(result.warnings).toHaveLength(3);
  });

  test.each([
    ['SD2-base-512', 'sd2-base-512'],
    ['llama3.1-70b', 'llama3-1-70b'],
    ['convert_to_hf', 'convert-to-hf'],
    ['_x_', '1x1'],
    ['Ä', '1'],
  ])('the name %s becomes %s, with a warning', (name, valid) => {
    const result = read(`name: ${name}\nimage: a\ncommand: x\n`);
    expect(result.spec.name).toBe(valid);
    expect(result.warnings[0]).toContain(`The run name ${name} becomes ${valid}`);
  });

  test.each([
    'bash',
    'mosaicml/pytorch:1.13.1_cu117-python3.10-ubuntu20.04',
    'nvcr.io/nvidia/nemo:22.11',
    'localhost:5000/a/b__c.d-e:X_1',
    `ghcr.io/o/r@sha256:${'a'.repeat(64)}`,
    `r/n:t@sha256:${'0'.repeat(64)}`,
  ])('the image %s', (image) => {
    expect(specOf(`name: a\nimage: ${image}\ncommand: x\n`).image).toBe(image);
  });

  test('metadata as JSON, with what JSON cannot say as text', () => {
    const text = `${HEAD}metadata: {a: 1, b: [on, .nan, 2020-01-01], 3: {x: ~}, big: 12345678901234567890}\n`;
    expect(specOf(text).metadata).toEqual({
      a: 1,
      b: [true, 'nan', '2020-01-01'],
      3: { x: null },
      big: '12345678901234567890',
    });
  });

  test('anchors, aliases and merge keys outside of parameters', () => {
    const text = `x-base: &base {gpus: 4, cluster: c}\nname: &n a\nimage: bash\ncommand: *n\ncompute: {<<: *base, gpus: 8}\n`;
    const { spec, warnings } = read(text);
    expect(spec).toMatchObject({ command: 'a', compute: { gpus: 8, cluster: 'c' } });
    expect(warnings).toEqual(['1: Unknown field x-base is not used']);
  });

  test.each([
    [
      'own entries win, then the last <<',
      '{x: 1, <<: {x: 2, y: 3}, <<: {x: 4, y: 5, z: 6}}',
      { x: 1, y: 5, z: 6 },
    ],
    ['the first of a list wins', '{<<: [{x: 1}, {x: 2, y: 3}]}', { x: 1, y: 3 }],
    ['what a mapping merges goes with it', '{<<: [{<<: {x: 1}}, {x: 2}]}', { x: 1 }],
    ['a mapping may come again', '{<<: [&a {x: 1}, {x: 2, <<: *a}, *a]}', { x: 1 }],
    ['a mapping may merge itself', '&a {x: 1, <<: *a}', { x: 1 }],
    ['a mapping may merge what it is in', '&a {x: 1, <<: {y: 2, <<: *a}}', { x: 1, y: 2 }],
  ])('merge keys: %s', (_, metadata, expected) => {
    expect(specOf(`${HEAD}metadata: ${metadata}\n`).metadata).toEqual(expected);
  });

  test('merge keys of merge keys, ever more of them, are read in no time', () => {
    const bases = Array.from(
      { length: 40 },
      (_, n) => `b${n + 1}: &b${n + 1} {<<: [*b${n}, *b${n}, *b${n}], k${n}: 1}\n`,
    );
    const text = `${HEAD}b0: &b0 {x: 0}\n${bases.join('')}metadata: {<<: *b40}\n`;
    expect(Object.keys(specOf(text).metadata)).toHaveLength(41);
  });
});

test('unknown fields are left out with a warning that knows better', () => {
  expect(
    read(
      `${HEAD}gpus: 8\nparamters: {}\nzzz: 1\non: 2\ncompute: {gpu: 1, nodename: x}\nscheduling: {preemptable: true}\n`,
    ).warnings,
  ).toEqual([
    '4: Unknown field gpus is not used (did you mean compute.gpus?)',
    '5: Unknown field paramters is not used (did you mean parameters?)',
    '6: Unknown field zzz is not used',
    '7: Unknown field on is not used',
    '8: Unknown field compute.gpu is not used (did you mean gpus?)',
    '8: Unknown field compute.nodename is not used (did you mean node_names?)',
    '9: Unknown field scheduling.preemptable is not used (did you mean preemptible?)',
  ]);
});

describe('what is wrong', () => {
  test('comes out all at once, with place, path and a way to mend it', () => {
    const text = `nmae: x
image: Org/Image
compute: {gpus: -1, nodes: 0, cpus: many}
scheduling: {priority: hgih, max_duration: 0, max_retries: 1.5, preemptible: maybe}
integrations:
- integration_type: git_rep
- type: pip_packages
  packages: numpy
- foo: 1
- text
env_variables: {A: [1], 'B=C': x}
parameters: [1]
metadata: 5
image: again
`;
    expect(problemsOf(text)).toMatchInlineSnapshot(`
      [
        "1:1 The file has no name",
        "1:1 The file has no command",
        "3:17 compute.gpus must be 0 or more, not -1",
        "3:28 compute.nodes must be 1 or more, not 0",
        "3:37 compute.cpus must be a whole number, not "many"",
        "4:24 scheduling.priority hgih is not known (did you mean high?)",
        "4:44 scheduling.max_duration must be more than 0 hours, not 0",
        "4:60 scheduling.max_retries must be a whole number, not 1.5",
        "4:78 scheduling.preemptible must be true or false, not "maybe"",
        "6:21 integrations[0].integration_type git_rep is not known",
        "8:13 integrations[1].packages must be a list, not "numpy"",
        "9:3 integrations[2] has no integration_type",
        "10:3 integrations[3] must be a mapping, not "text"",
        "11:20 env_variables.A must be text, not a list",
        "11:32 "B=C" is not a name of an environment variable",
        "12:13 parameters must be a mapping, not a list",
        "13:11 metadata must be a mapping, not 5",
        "14:1 image occurs twice in the same mapping: first on line 2, column 1",
      ]
    `);
  });

  test.each([
    ['an empty file', '', 'The file is empty'],
    ['a file of comments', '# nothing\n', 'The file is empty'],
    ['a list', '- a\n', 'A run file is a mapping of fields, not a list'],
    ['a text', 'hello', 'A run file is a mapping of fields, not the text hello'],
    ['a binary file', '\u007fELF\u0002\0\0', 'The file is binary, not YAML'],
    ['two documents', `${HEAD}---\n${HEAD}`, 'A second document starts here'],
    ['a tab', 'name: a\n\timage: b\n', 'This line is indented with a tab'],
    ['a quote', `${HEAD}metadata:\n  a: "x\nparent_name: b\n`, 'This " is never closed'],
    ['a bracket', `${HEAD}metadata: [1,\nparent_name: b\n`, 'The bracket ahead of this place is not closed'],
    ['a key in a value', 'name: a: b\n', 'A second "key:" stands here'],
    [
      'a control character',
      `${HEAD}metadata: {a: "\u001b[0m"}\n`,
      'The file has a control character (U+001B) here',
    ],
    ['a deployment file', `${HEAD}replicas: 1\n`, 'This is a deployment file, not a run file'],
    [
      'a quote without its partner for pip',
      `${HEAD}integrations: [{type: git_repo, git_repo: a/b, pip_install: '-e ".[gpu]'}]\n`,
      'integrations[0].pip_install cannot be split into words',
    ],
    [
      'a quote without its partner in an option of a package manager',
      `${HEAD}integrations: [{type: apt_packages, packages: [git, "-o 'a"]}]\n`,
      '4:53 integrations[0].packages[1] cannot be split into words',
    ],
    [
      'a blank text where something is needed',
      `${HEAD}integrations:\n- {type: pip_packages, packages: [a, ' ']}\n- {type: mlflow, experiment_name: ''}\n`,
      '5:38 integrations[0].packages[1] is empty\n6:3 integrations[1] has no experiment_name',
    ],
    [
      'a variable with which no program can be started',
      `${HEAD}env_variables: {A: ${'ä'.repeat(65_535)}, B: ${'ä'.repeat(65_534)}}\n`,
      '4:20 env_variables.A is too long',
    ],
    [
      'a field of a tracker that becomes such a variable',
      `${HEAD}integrations: [{type: wandb, tags: [a, ${'x'.repeat(131_060)}]}]\n`,
      '4:36 integrations[0].tags is too long',
    ],
    [
      'more variables than a program can be started with',
      `${HEAD}x: &x ${'x'.repeat(100_000)}\nenv_variables: {A: *x, B: *x, C: *x, D: *x, E: *x, F: *x}\n`,
      '5:16 env_variables have 600012 bytes together; 524288 are allowed',
    ],
    [
      'a NUL in a field of a tracker',
      `${HEAD}integrations: [{type: wandb, project: "a\\0b"}]\n`,
      '4:39 integrations[0].project has a NUL character in it',
    ],
    [
      'an address as host of a repository',
      `${HEAD}integrations: [{type: git_repo, git_repo: a/b, host: 'https://git.example/'}]\n`,
      'integrations[0].host https://git.example/ is not a host',
    ],
    ['command and entrypoint', `${HEAD}entrypoint: x\n`, 'The file has both command and entrypoint'],
    [
      'a name that is too long',
      `name: ${'a'.repeat(57)}\nimage: a\ncommand: x\n`,
      'name has 57 characters; 56 are allowed',
    ],
    [
      'GPUs that nodes cannot share',
      `${HEAD}compute: {gpus: 9, nodes: 2}\n`,
      "compute.gpus: 9 GPUs can't be shared equally by 2 nodes",
    ],
    ['a mapping for a name', 'name: {{name}}\nimage: a\ncommand: x\n', 'name must be text, not a mapping'],
    [
      'brackets without end',
      `${HEAD}metadata: ${'['.repeat(5000)}`,
      'The file is nested more than 100 levels deep',
    ],
    [
      'metadata that grows',
      `${HEAD}a: &a [${'x, '.repeat(999)}]\nb: &b [${'*a, '.repeat(999)}]\nmetadata: {c: *b}\n`,
      'metadata.c is larger than 100 KB',
    ],
  ])('%s is told', (_, text, message) => {
    expect(problemsOf(text).join('\n')).toContain(message);
  });

  test('a misspelt field is named where its right name is missing', () => {
    const result = readRunFile('nmae: x\nimage: bash\ncommnd: y\n');
    expect(result.ok ? [] : result.problems.map(({ fix }) => fix)).toEqual([
      'rename nmae to name',
      'rename commnd to command',
    ]);
    expect(result.warnings.map(({ message }) => message)).toEqual([
      'Unknown field nmae is not used (did you mean name?)',
      'Unknown field commnd is not used (did you mean command?)',
    ]);
  });

  test('a file that is too large is not read at all', () => {
    const started = performance.now();
    expect(problemsOf('x'.repeat(5 * 1024 * 1024))).toEqual([
      'The file has 5120 KiB; a run file may have 512 KiB',
    ]);
    expect(performance.now() - started).toBeLessThan(1_000);
    expect(MAX_RUN_FILE_BYTES).toBe(524_288);
  });

  test('a mistake in the syntax hides no wrong field ahead of it', () => {
    expect(problemsOf('name: a\nimage: B A D\ncompute: [1\ncommand: x\n')).toEqual([
      '2:8 The image name B A D is not valid',
      '3:10 compute must be a mapping, not a list',
      '4:1 The bracket ahead of this place is not closed, or its lines are not indented',
    ]);
  });

  test('duplicate keys are told with both places, wherever they are', () => {
    expect(
      problemsOf(`${HEAD}compute:\n  gpus: 1\n  gpus: 2\nparameters:\n  a: {on: 1, true: 2}\nname: b\n`),
    ).toEqual([
      '6:3 gpus occurs twice in the same mapping: first on line 5, column 3',
      '8:14 true occurs twice in the same mapping: first on line 8, column 7',
      '9:1 name occurs twice in the same mapping: first on line 1, column 1',
    ]);
  });
});

function read(text: string): { spec: RunSpec; warnings: string[] } {
  const result = readRunFile(text);
  if (!result.ok) throw new Error(JSON.stringify(result.problems, null, 1));
  return {
    spec: result.spec,
    warnings: result.warnings.map(({ line, message }) => `${line}: ${message}`),
  };
}

function specOf(text: string): RunSpec {
  return read(text).spec;
}

function problemsOf(text: string): string[] {
  const result = readRunFile(text);
  if (result.ok) return [];
  return result.problems.map(
    ({ line, column, message }) => `${line === undefined ? '' : `${line}:${column} `}${message}`,
  );
}
