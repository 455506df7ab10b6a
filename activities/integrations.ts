/**
 * The integrations of a run as one bash script: in the order of the file, each named in the log with its duration.
 * The exit code of the script names the step that failed, so that an agent that attaches later can tell too.
 */
import type {
  AptPackagesIntegration,
  GitRepoIntegration,
  Integration,
  PipPackagesIntegration,
} from '../core/run-spec.ts';
import { quoteForShell, splitShellWords } from './shell.ts';

type Installing = GitRepoIntegration | PipPackagesIntegration | AptPackagesIntegration;

interface Step {
  /** Counted from 1 over the integrations that install something. */
  readonly integration: number;
  readonly type: Installing['type'];
  readonly commands: readonly string[];
  /** What the user reads when one of the commands fails. */
  readonly failure: string;
}

/** Exit codes from here on name a step; those below are a shell's own, those from 128 are signals. */
const FIRST_STEP_CODE = 10;
const LAST_STEP_CODE = 125;

export interface IntegrationPlan {
  /** Undefined when nothing has to be installed. */
  readonly script: string | undefined;
  /** One sentence for an exit code other than 0. */
  describeFailure(exitCode: number): string;
}

/** @throws RangeError when `pip_install` is not something that a shell could split into words. */
export function planIntegrations(integrations: readonly Integration[]): IntegrationPlan {
  const installing = integrations.filter(installs);
  const steps = installing.flatMap((integration, index) => stepsOf(integration, index + 1));
  return {
    script: steps.length === 0 ? undefined : script(steps, installing),
    describeFailure(exitCode) {
      const step = steps.find((_, index) => stepCode(index) === exitCode);
      if (step) return `Integration ${step.integration} (${step.type}) failed: ${step.failure}`;
      if (exitCode > 128) return `The integrations were ended by signal ${exitCode - 128}.`;
      return `The integrations failed with exit code ${exitCode}.`;
    },
  };
}

function installs(integration: Integration): integration is Installing {
  return ['git_repo', 'pip_packages', 'apt_packages'].includes(integration.type);
}

function stepsOf(integration: Installing, number: number): Step[] {
  const step = (failure: string, ...commands: string[]): Step => ({
    integration: number,
    type: integration.type,
    commands,
    failure,
  });
  if (integration.type === 'git_repo') return gitSteps(integration, step);
  const packages = integration.packages.map(quoteForShell).join(' ');
  if (integration.type === 'pip_packages') {
    const upgrade = integration.upgrade ? '--upgrade ' : '';
    const failure = `Failed to pip install packages: ${integration.packages.join(' ')}`;
    return [step(failure, `pip install ${upgrade}${packages}`)];
  }
  const failure = `Failed to apt install packages: ${integration.packages.join(' ')}`;
  return [step(failure, 'apt-get update -y', `apt-get install -y ${packages}`)];
}

function gitSteps(repo: GitRepoIntegration, step: (failure: string, ...commands: string[]) => Step): Step[] {
  const path = quoteForShell(repo.path ?? repositoryName(repo.gitRepo));
  const clone = ['git clone'];
  if (repo.recursive) clone.push('--recursive');
  if (repo.gitBranch !== undefined) clone.push(`-b ${quoteForShell(repo.gitBranch)}`);
  clone.push('--', quoteForShell(repositoryUrl(repo)), path);

  const commands = [clone.join(' ')];
  if (repo.gitCommit !== undefined) {
    commands.push(`git -C ${path} checkout ${quoteForShell(repo.gitCommit)}`);
    if (repo.recursive) commands.push(`git -C ${path} submodule update --init --recursive`);
  }
  const steps = [step(`Unable to clone git repo: ${repo.gitRepo}`, ...commands)];
  if (repo.pipInstall !== undefined) {
    const words = splitShellWords(repo.pipInstall).join(' ');
    const failure = `Unable to install the repo with: pip install ${repo.pipInstall}`;
    // In a subshell: the next integration and the command start in the image's working directory.
    steps.push(step(failure, `(cd ${path} && pip install ${words})`));
  }
  return steps;
}

function repositoryUrl({ gitRepo, host, sshClone }: GitRepoIntegration): string {
  if (gitRepo.includes('://') || /^[\w.-]+@/.test(gitRepo)) return gitRepo;
  return sshClone ? `git@${host}:${gitRepo}.git` : `https://${host}/${gitRepo}.git`;
}

function repositoryName(gitRepo: string): string {
  const last = gitRepo.replace(/\/+$/, '').split(/[/:]/).at(-1) ?? gitRepo;
  return last.replace(/\.git$/, '');
}

const PROLOGUE = `
export GIT_SSH_COMMAND="\${GIT_SSH_COMMAND:-ssh -o StrictHostKeyChecking=no}"
# Nobody is there to type a password: a private repository must fail, not wait.
export GIT_TERMINAL_PROMPT=0
export DEBIAN_FRONTEND=noninteractive
# The container is the run's own: Debian's guard of the system Python has nothing to guard here.
export PIP_BREAK_SYSTEM_PACKAGES="\${PIP_BREAK_SYSTEM_PACKAGES:-1}" PIP_ROOT_USER_ACTION=ignore
`.trim();

function script(steps: readonly Step[], installing: readonly Installing[]): string {
  const count = installing.length;
  const lines = [PROLOGUE];
  for (const [index, step] of steps.entries()) {
    const { integration, type, commands } = step;
    const title = `[mcli] integration ${integration}/${count} (${type})`;
    if (steps[index - 1]?.integration !== integration) lines.push('SECONDS=0');
    for (const command of commands) {
      lines.push(
        `echo ${quoteForShell(`${title}: ${command}`)}`,
        `${command} || { echo ${quoteForShell(`${title} failed: ${step.failure}`)} >&2; exit ${stepCode(index)}; }`,
      );
    }
    if (steps[index + 1]?.integration !== integration) {
      lines.push(`echo ${quoteForShell(`${title}: done in`)} "$SECONDS s"`);
    }
  }
  return `${lines.join('\n')}\n`;
}

function stepCode(index: number): number {
  return Math.min(FIRST_STEP_CODE + index, LAST_STEP_CODE);
}
