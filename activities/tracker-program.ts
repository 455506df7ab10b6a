/**
 * The last program of a container whose run names Weights & Biases or Comet: it hands the report to their own Python
 * libraries, which alone know how their servers want it. What the run has logged itself is left as it is.
 */
import { CONFIG_DIR } from '../core/naming.ts';
import type { ContainerFile } from './docker.ts';

export const REPORT_PATH = `${CONFIG_DIR}/tracking.json`;
export const TRACKER_PROGRAM_PATH = `${CONFIG_DIR}/tracking.py`;
/** JSON: for each tracker that has answered, what is wrong, and where it shows the run. Empty before the first. */
export const TRACKER_ANSWERS_PATH = `${CONFIG_DIR}/tracking-answers.json`;
const TRACKER_LOG_PATH = `${CONFIG_DIR}/tracking.log`;

/** Made beforehand: the image may run as any user, and the folder is not open to all. */
export const TRACKER_OUTPUTS: readonly ContainerFile[] = [TRACKER_ANSWERS_PATH, TRACKER_LOG_PATH].map(
  (path) => ({ path, content: '', mode: 0o666 }),
);

/** As a shell says that it finds no program. */
export const NO_PYTHON = 127;

/** Its output is for nobody: the log of the run is closed. */
export const TRACKER_SCRIPT = `exec > ${TRACKER_LOG_PATH} 2>&1
for python in python3 python; do
  if command -v "$python" > /dev/null; then exec "$python" ${TRACKER_PROGRAM_PATH}; fi
done
exit ${NO_PYTHON}
`;

export const TRACKER_PROGRAM = `
import json
import os

with open("${REPORT_PATH}") as file:
    report = json.load(file)
for metric in report["metrics"]:
    # What is no number has no other place in JSON.
    if metric["value"] is None:
        metric["value"] = float("nan")


def report_to_wandb():
    quiet = {
        "WANDB_SILENT": "true",
        "WANDB_CONSOLE": "off",
        "WANDB_DISABLE_GIT": "true",
        "WANDB_DISABLE_CODE": "true",
        "WANDB_X_DISABLE_STATS": "true",
        "WANDB_X_DISABLE_META": "true",
    }
    os.environ.update(quiet)
    import wandb

    run = wandb.init()
    # Beside what the run has logged as its own: that is what it has really used.
    run.config.update({"parameters": report["parameters"]}, allow_val_change=True)
    known = set(run.summary.keys())
    metrics = {metric["name"]: metric["value"] for metric in report["metrics"]}
    run.summary.update({name: value for name, value in metrics.items() if name not in known})
    run.summary.update({"mcli": report["facts"]})
    with open(os.path.join(run.dir, "mcli-run.yaml"), "w") as file:
        file.write(report["submittedYaml"])
    url = run.url
    run.finish(exit_code=report["exitCode"])
    return url


def report_to_comet_ml():
    os.environ.setdefault("COMET_LOGGING_CONSOLE", "ERROR")
    os.environ["COMET_DISABLE_AUTO_LOGGING"] = "1"
    import comet_ml

    quiet = {
        name: False
        for name in (
            "log_code",
            "log_graph",
            "log_git_metadata",
            "log_git_patch",
            "log_env_details",
            "parse_args",
            "auto_output_logging",
        )
    }
    experiment = comet_ml.start(experiment_config=comet_ml.ExperimentConfig(**quiet))
    experiment.log_parameters(report["parameters"], prefix="parameters")
    for metric in report["metrics"]:
        experiment.log_metric(metric["name"], metric["value"], step=metric["step"])
    experiment.log_others({"mcli." + name: value for name, value in report["facts"].items()})
    experiment.log_asset_data(report["submittedYaml"], name="mcli-run.yaml")
    url = experiment.url
    experiment.end()
    return url


answers = {}
for tracker in report["trackers"]:
    try:
        answers[tracker] = {"url": {"wandb": report_to_wandb, "comet_ml": report_to_comet_ml}[tracker]()}
    except ImportError as error:
        answers[tracker] = {"problem": "The image has no Python package %s." % (error.name or tracker)}
    # Also of one that wants to end the program.
    except BaseException as error:
        words = str(error).strip().splitlines() or [""]
        # Far more than is shown: what is cut here of a secret is not found in it any more.
        answers[tracker] = {"problem": ("%s: %s" % (type(error).__name__, words[0]))[:20000]}
    with open("${TRACKER_ANSWERS_PATH}", "w") as file:
        file.write(json.dumps(answers))
`.trimStart();
