/** The commands about secrets, and their flags. */
import { Option } from 'commander';
import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import type { Dispatch } from './dispatch.ts';
import type { SecretFlags } from './secret-input.ts';
import type { SecretWord } from './secret-types.ts';

export function addCreate(program: Command, context: CliContext, dispatch: Dispatch): void {
  const create = program.command('create').description('create secrets, or the key of a node');
  addCreateSecret(create, context, dispatch);
  create
    .command('node-key')
    .description('make the private key of a node, or put a new one on top of its key file')
    .argument('<file>', 'where the keys are')
    .action((file: string) =>
      dispatch(async () => (await import('./commands/create/node-key.ts')).createNodeKey(context, file)),
    );
}

export function addGetSecrets(get: Command, context: CliContext, dispatch: Dispatch): void {
  get
    .command('secrets')
    .alias('secret')
    .description('list your secrets; values are never shown')
    .option('--type <type>', 'only of this type', 'all')
    .option('--ids', 'show the keys under which NATS has them')
    .addOption(
      new Option('-o, --output <format>', 'output format')
        .choices(['table', 'json', 'yaml', 'name'])
        .default('table'),
    )
    .action((flags: import('./commands/get/secrets.ts').GetSecretsFlags) =>
      dispatch(async () => (await import('./commands/get/secrets.ts')).getSecrets(context, flags)),
    );
}

export function addDeleteSecret(remove: Command, context: CliContext, dispatch: Dispatch): void {
  remove
    .command('secret')
    .alias('secrets')
    .description('delete secrets; runs that have them already keep them')
    .argument('[secrets...]', 'names or globs')
    .option('-a, --all', 'all secrets')
    .option('-y, --yes', 'do not ask')
    .addOption(new Option('--force').implies({ yes: true }).hideHelp())
    .action((names: string[], flags: import('./commands/delete/secret.ts').DeleteSecretFlags) =>
      dispatch(async () =>
        (await import('./commands/delete/secret.ts')).deleteSecrets(context, names, flags),
      ),
    );
}

function addCreateSecret(create: Command, context: CliContext, dispatch: Dispatch): void {
  const secret = create
    .command('secret')
    .alias('secrets')
    .description('give all your later runs a value that nobody can read back');
  const add = (word: SecretWord, description: string): Command =>
    secret
      .command(word)
      .description(description)
      .option('--name <name>', 'name of the secret; made up by default')
      .option('--no-input', 'never ask')
      .action((...given: unknown[]) =>
        dispatch(async () => {
          // Commander puts the flags behind the argument, where the command has one.
          const argument = typeof given[0] === 'object' ? undefined : (given[0] as string | undefined);
          const flags = given.at(-2) as SecretFlags;
          const { createSecret } = await import('./commands/create/secret.ts');
          return await createSecret(context, word, argument, flags);
        }),
      );

  add('docker', 'the log-in of a registry of images')
    .alias('docker-registry')
    .option('--server <host>', 'the registry: docker.io (the default), ghcr.io, registry.example:5000')
    .option('--username <name>', 'user name at the registry')
    .option('--password <text>', 'password or token; - reads standard input')
    .addOption(new Option('--email <address>', 'not needed by any registry').hideHelp())
    .addOption(fromFile('password'));
  add('env', 'an environment variable')
    .alias('environment')
    .argument('[key=value]', 'the variable; KEY alone asks for its value, or takes it from standard input')
    .addOption(fromFile('value'));
  mountable(add('mounted', 'a file of any kind'));
  mountable(add('ssh', 'a private key for ssh'));
  mountable(add('git-ssh', 'a private key for git over ssh'));
  mountable(add('sftp-ssh', 'a private key for SFTP'))
    .option('--host-name <host>', 'the server, as host or host:port; asked for the keys it is known by')
    .option('--known-hosts <file>', 'a known_hosts file, instead of asking the server')
    .option('--no-host-check', 'let runs trust any server');
  add('s3', 'credentials for S3')
    .option('--credentials-file <file>', 'credentials file of AWS (~/.aws/credentials)')
    .option('--config-file <file>', 'config file of AWS (~/.aws/config)')
    .option('--profile <name>', 'profile in these files')
    .option('--mount-directory <folder>', 'folder in the container (/secrets/NAME)');
  add('gcp', 'credentials for Google Cloud')
    .option('--credentials-file <file>', 'JSON key of a service account')
    .option('--mount-path <folder>', 'folder in the container (/secrets/NAME)')
    .addOption(fromFile('key'));
  add('oci', 'credentials for Oracle Cloud')
    .option('--config-file <file>', 'config file of OCI (~/.oci/config)')
    .option('--key-file <file>', 'private key; the one that the config file names by default')
    .option('--mount-directory <folder>', 'folder in the container (/secrets/NAME)');
  add('databricks', 'host and token of Databricks')
    .option('--host <url>', 'host of the workspace')
    .option('--token <text>', 'access token; - reads standard input')
    .addOption(fromFile('token'));
  add('hf', 'a token of Hugging Face')
    .alias('hugging-face')
    .alias('hugging_face')
    .option('--token <text>', 'access token; - reads standard input')
    .addOption(fromFile('token'));
  add('wandb', 'an API key of Weights & Biases')
    .option('--api-key <text>', 'API key; - reads standard input')
    .addOption(fromFile('API key'));
}

function mountable(command: Command): Command {
  return command
    .argument('[file]', 'the file; - or a pipe for standard input')
    .option('--mount-path <folder>', 'folder in the container (/secrets/NAME); the file is named secret')
    .addOption(fromFile('file').hideHelp());
}

const fromFile = (what: string): Option =>
  new Option('--from-file <file>', `read the ${what} from a file; - for standard input`);
