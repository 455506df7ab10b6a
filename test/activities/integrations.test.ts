import { execFileSync } from 'node:child_process';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { planIntegrations } from '../../activities/integrations.ts';
import { quoteForShell, splitShellWords } from '../../core/shell-words.ts';
import type { GitRepoIntegration, Integration } from '../../core/run-spec.ts';

/** The commands of a script, without what is printed around them. */
function commands(...integrations: Integration[]): string[] {
  const { script = '' } = planIntegrations(integrations);
  return script.split('\n').flatMap((line) => line.match(/^(.*?) \|\| \{ echo/)?.[1] ?? []);
}

const repo = (more: Partial<GitRepoIntegration> = {}): GitRepoIntegration => ({
  type: 'git_repo',
  gitRepo: 'org/repo',
  sshClone: true,
  host: 'github.com',
  recursive: false,
  ...more,
});

/** What bash makes of words. */
function wordsOf(text: string, env: Record<string, string> = {}): string[] {
  const printed = execFileSync('bash', ['--norc', '-c', `printf '%s\\0' ${text}`], {
    env: { PATH: '/bin:/usr/bin', ...env },
  });
  return printed.toString().split('\0').slice(0, -1);
}

describe('git_repo', () => {
  it('clones over ssh or https, a branch or a commit, where it was asked to', () => {
    expect(commands(repo())).toEqual(['git clone -- git@github.com:org/repo.git repo']);
    expect(commands(repo({ sshClone: false, host: 'git.example', gitBranch: 'dev', path: 'a b' }))).toEqual([
      "git clone -b dev -- https://git.example/org/repo.git 'a b'",
    ]);
    expect(commands(repo({ gitCommit: 'abc123', gitBranch: 'gone', recursive: true }))).toEqual([
      'git clone --recursive -- git@github.com:org/repo.git repo',
      'git -C repo checkout --quiet abc123',
      'git -C repo submodule update --init --recursive',
    ]);
    expect(commands(repo({ gitRepo: 'https://git.example/x/tool.git' }))).toEqual([
      'git clone -- https://git.example/x/tool.git tool',
    ]);
    expect(commands(repo({ gitRepo: 'org/repo.git/', host: 'git.example:2222' }))).toEqual([
      'git clone -- ssh://git@git.example:2222/org/repo.git repo',
    ]);
  });

  it.each([
    ['.', '.'],
    ['-e .[gpu]', "-e '.[gpu]'"],
    ['-e ".[gpu]"', "-e '.[gpu]'"],
    ['.[all] --no-deps', "'.[all]' --no-deps"],
    ['-r llm/requirements.txt', '-r llm/requirements.txt'],
    ['\'poetry>=1.7; python_version > "3"\'', `'poetry>=1.7; python_version > "3"'`],
    ['x; rm -rf /', "'x;' rm -rf /"],
    ['git+https://${TOKEN}@h/x', 'git+https://"${TOKEN}"@h/x'],
  ])('installs %s with the words that a shell would read', (pipInstall, words) => {
    expect(commands(repo({ pipInstall })).at(-1)).toBe(`(cd repo && pip install ${words})`);
  });
});

it.each<[Integration, string]>([
  [repo({ pipInstall: '-e ".[gpu]' }), 'Integration 1 (git_repo) failed: " has no partner in: -e ".[gpu]'],
  [
    { type: 'pip_packages', packages: ["-r it's.txt"], upgrade: false },
    "Integration 1 (pip_packages) failed: ' has no partner in: -r it's.txt",
  ],
])('a quote without its partner is a failure of the run, and not of the node', (integration, message) => {
  expect(() => planIntegrations([integration])).toThrow(
    expect.objectContaining({
      type: 'IntegrationFailed',
      message,
      details: [{ type: 'IntegrationFailed', message }],
    }),
  );
});

it('packages are quoted, so that versions are no redirections', () => {
  expect(
    commands(
      { type: 'pip_packages', packages: ['requests>=2.27.1', 'hub[fast]'], upgrade: true },
      {
        type: 'pip_packages',
        packages: ['a @ https://${X}/a.whl', '--index-url $Y', 'b; c'],
        upgrade: false,
      },
      { type: 'apt_packages', packages: ['-t bookworm-backports', 'git', 'libfoo=1.2*'] },
    ),
  ).toEqual([
    "pip install --upgrade 'requests>=2.27.1' 'hub[fast]'",
    `pip install 'a @ https://'"\${X}"/a.whl --index-url "\${Y}" 'b; c'`,
    'apt-get update -y',
    "apt-get install -y -t bookworm-backports git 'libfoo=1.2*'",
  ]);
});

it('trackers install nothing', () => {
  expect(planIntegrations([{ type: 'mlflow', environment: { A: 'b' } }]).script).toBeUndefined();
});

it('the exit code of the script names the integration that failed', () => {
  const plan = planIntegrations([
    { type: 'wandb', environment: {} },
    repo({ gitRepo: '/nowhere', sshClone: false, pipInstall: '.' }),
    { type: 'apt_packages', packages: ['x'] },
  ]);
  expect([10, 11, 12, 137, 1].map((code) => plan.describeFailure(code))).toEqual([
    'Integration 2 (git_repo) failed: Unable to clone git repo: /nowhere',
    'Integration 2 (git_repo) failed: Unable to install the repo with: pip install .',
    'Integration 3 (apt_packages) failed: Failed to apt install packages: x',
    'The integrations were ended by signal 9.',
    'The integrations failed with exit code 1.',
  ]);
});

describe('words for bash', () => {
  it('quoted, are read as they are', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme' }).filter((text) => !text.includes('\0')),
        (text) => {
          expect(wordsOf(quoteForShell(text))).toEqual([text]);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('split, are those that bash reads', () => {
    const text = String.raw`-e ".[a b]" 'c $X' d\ e "" x${'$'}{X}y "$X z" \$X "\$X\"\n"`;
    expect(wordsOf(splitShellWords(text).join(' '), { X: '1 2' })).toEqual([
      '-e',
      '.[a b]',
      'c $X',
      'd e',
      '',
      'x1 2y',
      '1 2 z',
      '$X',
      String.raw`$X"\n`,
    ]);
  });
});
