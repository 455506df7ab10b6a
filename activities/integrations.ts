/**
 * The integrations of a run as one bash script: in the order of the file, each named in the log with its duration.
 * The exit code of the script names the step that failed, so that an agent that attaches later can tell too.
 */
import type {
  AptPackagesIntegration,
  GitRepoIntegration,
  Integration,
  PipPackagesIntegration,
  TrackerIntegration,
} from '../core/run-spec.ts';
import { packageWords, quoteForShell, splitShellWords } from '../core/shell-words.ts';
import { runFailure } from './attached.ts';

type Installing = GitRepoIntegration | PipPackagesIntegration | AptPackagesIntegration;

interface Step {
  readonly commands: readonly string[];
  /** What the user reads when one of the commands fails. */
  readonly failure: string;
  /** A command that may say in the log, after the failure, what would help. */
  readonly advice?: string;
}

/** A step in its place. */
interface PlacedStep extends Step {
  /** Place of its integration in the run file, from 1. */
  readonly integration: number;
  readonly type: Installing['type'];
  readonly exitCode: number;
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

/** @throws ApplicationFailure of the type IntegrationFailed when there are words that a shell could not split. */
export function planIntegrations(integrations: readonly Integration[]): IntegrationPlan {
  const steps = placedSteps(integrations);
  return {
    script: steps.length === 0 ? undefined : script(integrations, steps),
    describeFailure(exitCode) {
      const step = steps.find((each) => each.exitCode === exitCode);
      if (step) return failed(step, step.failure);
      if (exitCode > 128) return `The integrations were ended by signal ${exitCode - 128}.`;
      return `The integrations failed with exit code ${exitCode}.`;
    },
  };
}

function placedSteps(integrations: readonly Integration[]): PlacedStep[] {
  const all = integrations.flatMap((integration, index) =>
    isTracker(integration)
      ? []
      : placedStepsOf(integration, { integration: index + 1, type: integration.type }),
  );
  return all.map((step, index) => ({ ...step, exitCode: Math.min(FIRST_STEP_CODE + index, LAST_STEP_CODE) }));
}

type Place = Pick<PlacedStep, 'integration' | 'type'>;

/** The run file's reader refuses these words; a run that was submitted without it must not be held against the node. */
function placedStepsOf(integration: Installing, place: Place): Omit<PlacedStep, 'exitCode'>[] {
  try {
    return stepsOf(integration).map((step) => ({ ...step, ...place }));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw runFailure({ type: 'IntegrationFailed', message: failed(place, error.message) }, error);
  }
}

function failed({ integration, type }: Place, why: string): string {
  return `Integration ${integration} (${type}) failed: ${why}`;
}

function isTracker(integration: Integration): integration is TrackerIntegration {
  return 'environment' in integration;
}

function stepsOf(integration: Installing): Step[] {
  if (integration.type === 'git_repo') return gitSteps(integration);
  if (integration.type === 'pip_packages') {
    const words = integration.packages.flatMap(packageWords).join(' ');
    const upgrade = integration.upgrade ? '--upgrade ' : '';
    const failure = `Failed to pip install packages: ${integration.packages.join(' ')}`;
    return [{ commands: [`pip install ${upgrade}${words}`], failure }];
  }
  const packages = integration.packages.flatMap(packageWords).join(' ');
  const failure = `Failed to apt install packages: ${integration.packages.join(' ')}`;
  return [{ commands: ['apt-get update -y', `apt-get install -y ${packages}`], failure }];
}

function gitSteps(repo: GitRepoIntegration): Step[] {
  const path = quoteForShell(repo.path ?? repositoryName(repo.gitRepo));
  const url = repositoryUrl(repo);
  const clone = ['git clone'];
  if (repo.recursive) clone.push('--recursive');
  // The commit wins: the branch that it was made on may be gone.
  if (repo.gitBranch !== undefined && repo.gitCommit === undefined) {
    clone.push(`-b ${quoteForShell(repo.gitBranch)}`);
  }
  clone.push('--', quoteForShell(url), path);

  const commands = [clone.join(' ')];
  if (repo.gitCommit !== undefined) {
    commands.push(`git -C ${path} checkout --quiet ${quoteForShell(repo.gitCommit)}`);
    if (repo.recursive) commands.push(`git -C ${path} submodule update --init --recursive`);
  }
  const failure = `Unable to clone git repo: ${repo.gitRepo}`;
  const steps: Step[] = [{ commands, failure, ...(isSsh(url) && { advice: 'advise_git_ssh' }) }];
  if (repo.pipInstall !== undefined) {
    const words = splitShellWords(repo.pipInstall).join(' ');
    steps.push({
      // In a subshell: the next integration and the command start in the image's working directory.
      commands: [`(cd ${path} && pip install ${words})`],
      failure: `Unable to install the repo with: pip install ${repo.pipInstall}`,
    });
  }
  return steps;
}

/** `host:path` has no place for a port: with one, ssh needs a whole URL. */
function repositoryUrl({ gitRepo, host, sshClone }: GitRepoIntegration): string {
  if (gitRepo.includes('://') || /^[\w.-]+@/.test(gitRepo)) return gitRepo;
  const path = `${withoutEnding(gitRepo)}.git`;
  if (!sshClone) return `https://${host}/${path}`;
  return /:\d+$/.test(host) ? `ssh://git@${host}/${path}` : `git@${host}:${path}`;
}

function isSsh(url: string): boolean {
  return url.startsWith('ssh://') || !url.includes('://');
}

function repositoryName(gitRepo: string): string {
  return withoutEnding(gitRepo).split(/[/:]/).at(-1) ?? gitRepo;
}

function withoutEnding(gitRepo: string): string {
  return gitRepo.replace(/\/+$/, '').replace(/\.git$/, '');
}

const PROLOGUE = `
# Of two streams, Docker may mix up the order.
exec 2>&1
plain_ssh='ssh -o StrictHostKeyChecking=no'
export GIT_SSH_COMMAND="\${GIT_SSH_COMMAND:-$plain_ssh}"
advise_git_ssh() {
  if [ "$GIT_SSH_COMMAND" = "$plain_ssh" ]; then
    echo '[mcli] There is no git-ssh secret. If the repository is private: mcli create secret git-ssh KEYFILE'
  fi
}
# Nobody is there to type a password: a private repository must fail, not wait.
export GIT_TERMINAL_PROMPT=0
export DEBIAN_FRONTEND=noninteractive
# The container is the run's own: Debian's guard of the system Python has nothing to guard here.
export PIP_BREAK_SYSTEM_PACKAGES="\${PIP_BREAK_SYSTEM_PACKAGES:-1}" PIP_ROOT_USER_ACTION=ignore
`.trim();

function script(integrations: readonly Integration[], steps: readonly PlacedStep[]): string {
  const lines = integrations.flatMap((integration, index) => {
    const title = `[mcli] integration ${index + 1}/${integrations.length} (${integration.type})`;
    if (isTracker(integration)) {
      return say(`${title}: its environment variables are set`);
    }
    const own = steps.filter((step) => step.integration === index + 1);
    return [
      'SECONDS=0',
      ...own.flatMap((step) => stepLines(title, step)),
      say(`${title}: done in`, ' "$SECONDS s"'),
    ];
  });
  return `${PROLOGUE}\n${lines.join('\n')}\n`;
}

function stepLines(title: string, { commands, failure, advice, exitCode }: PlacedStep): string[] {
  const said = say(`${title} failed after`, ` "$SECONDS s:" ${quoteForShell(failure)}`);
  const onFailure = [said, ...(advice === undefined ? [] : [advice]), `exit ${exitCode}`].join('; ');
  return commands.flatMap((command) => [say(`${title}: ${command}`), `${command} || { ${onFailure}; }`]);
}

/** @param more words that bash expands. */
function say(text: string, more = ''): string {
  return `echo ${quoteForShell(text)}${more}`;
}
