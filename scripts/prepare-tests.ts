/**
 * Sets up what the tests need of this machine: Docker, the starter image, the two servers. Tells on stderr what it does,
 * and prints the environment of the tests for a shell. Nothing goes into the user's home.
 */
import path from 'node:path';
import { ensureDocker } from '../stack/docker.ts';
import { StackError } from '../stack/errors.ts';
import { stackHome } from '../stack/home.ts';
import { takeLock } from '../stack/lock.ts';
import { ensureBuiltImage } from '../stack/starter-image.ts';
import { ensureTools } from '../stack/tools.ts';

const SETUP_WAIT_MS = 20 * 60_000;
const root = path.dirname(import.meta.dirname);
const home = stackHome({ MCLI_HOME: path.join(root, 'node_modules', '.cache', 'mcli-tests') });
const say = (line: string): void => console.error(`npm test: ${line}`);

try {
  const lock = await takeLock(home.setupLock, { waitMs: SETUP_WAIT_MS });
  const [tools] = await Promise.all([
    ensureTools(home, say),
    ensureDocker(home, process.env['DOCKER_HOST'], say).then((host) => ensureBuiltImage(home, host, say)),
  ]);
  lock?.release();
  console.log(`export MCLI_TEMPORAL_BIN='${tools.temporal}' MCLI_NATS_SERVER_BIN='${tools.natsServer}'`);
} catch (error) {
  if (!(error instanceof StackError)) throw error;
  console.error(`✗ ${error.message}\n  why: ${error.why}\n  fix: ${error.fix}`);
  process.exitCode = 1;
}
