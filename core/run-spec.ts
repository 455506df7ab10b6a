/**
 * A run as its file describes it, after parsing: legacy names folded into today's, defaults filled in, types right.
 * Plain JSON, because it travels through Temporal. `run-file.ts` makes one from YAML.
 */
import type { Priority } from './priority.ts';
import type { Problem } from './run-problem.ts';

export type JsonValue =
  string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue };

export interface ComputeRequest {
  readonly cluster?: string;
  /** `none` asks for a CPU run, as `gpus: 0` does. */
  readonly gpuType?: string;
  readonly gpus?: number;
  readonly nodes?: number;
  readonly nodeNames?: readonly string[];
  readonly instance?: string;
  readonly cpus?: number;
}

export interface SchedulingRequest {
  readonly priority: Priority;
  readonly preemptible: boolean;
  readonly maxRetries: number;
  /** Off only when the file says so: here a failed node means a retry, not a lost run. */
  readonly retryOnSystemFailure: boolean;
  /** Wall clock from the first start of the run, over all its resumptions. */
  readonly maxDurationHours?: number;
  /** From SIGTERM to SIGKILL when the run is stopped. */
  readonly gracePeriodSeconds?: number;
}

export interface GitRepoIntegration {
  readonly type: 'git_repo';
  /** `org/repo` on `host`, or a whole URL. */
  readonly gitRepo: string;
  readonly gitBranch?: string;
  /** Wins over the branch. */
  readonly gitCommit?: string;
  /** Where to clone to, relative to the working directory; the repository's name by default. */
  readonly path?: string;
  readonly sshClone: boolean;
  /** Arguments of `pip install`, run inside the clone; split as a shell would. */
  readonly pipInstall?: string;
  readonly host: string;
  readonly recursive: boolean;
}

export interface PipPackagesIntegration {
  readonly type: 'pip_packages';
  readonly packages: readonly string[];
  readonly upgrade: boolean;
}

export interface AptPackagesIntegration {
  readonly type: 'apt_packages';
  readonly packages: readonly string[];
}

/** Experiment trackers: they set environment variables, and install nothing. */
export interface TrackerIntegration {
  readonly type: 'wandb' | 'mlflow' | 'comet_ml';
  readonly environment: Readonly<Record<string, string>>;
}

export type Integration =
  GitRepoIntegration | PipPackagesIntegration | AptPackagesIntegration | TrackerIntegration;

export interface RunSpec {
  /** As submitted, made valid; the run's own name adds a suffix. */
  readonly name: string;
  readonly image: string;
  /** A bash script. */
  readonly command: string;
  readonly compute: ComputeRequest;
  readonly scheduling: SchedulingRequest;
  readonly integrations: readonly Integration[];
  readonly envVariables: Readonly<Record<string, string>>;
  /** YAML text that PyYAML reads as the file's `parameters`: the content of /mnt/config/parameters.yaml. */
  readonly parametersYaml: string;
  readonly metadata: Readonly<Record<string, JsonValue>>;
  readonly parentName?: string;
}

/** What a run takes of a cluster, with nothing left open: the outcome of construction. */
export interface ResourceRequest {
  readonly cluster: string;
  /** `null` for a CPU run. */
  readonly gpuType: string | null;
  /** GPUs over all nodes; 0 for a CPU run, which takes one CPU slot on each node. */
  readonly gpus: number;
  readonly nodes: number;
  readonly gpusPerNode: number;
  /** Only these nodes may be used; empty means any. */
  readonly nodeNames: readonly string[];
}

/** What construction answers; a rejection is an answer too. */
export type Construction =
  | { readonly accepted: true; readonly resources: ResourceRequest; readonly warnings: readonly string[] }
  | { readonly accepted: false; readonly problems: readonly Problem[] };
