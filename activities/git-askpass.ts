/**
 * How git, in a container, gets the token of a private repository over https: from the variable of the host, which a
 * secret sets. A token goes to its own host only, and only encrypted, whatever submodules and requirements a
 * repository names; and it is in no command line and in no file.
 */
import { CONFIG_DIR } from '../core/naming.ts';
import type { ContainerFile } from './docker.ts';

const ASKPASS_PATH = `${CONFIG_DIR}/git-askpass`;

export const GIT_ASKPASS = { GIT_ASKPASS: ASKPASS_PATH };

/**
 * git asks with "Username for 'https://host:port': ", then with "Password for 'https://user@host:port': ". Hosts that
 * want a token take any user name with it; for the others it stands in the address of the repository.
 *
 * Who names the repository chooses the user, and gits before 2.49 print it as it is decoded: with a quote or a slash in it, it
 * would look like another host. So a prompt is answered only when nothing but a host can stand where the host is read;
 * one with a path, as after `credential.useHttpPath`, is not.
 *
 * No two hosts share a variable, or one would get the token of the other: `git.example.com` and `git-example.com` differ
 * by an underscore, and what keeps `.-` and `-.` apart is that neither may be in a host.
 */
const ASKPASS = `#!/usr/bin/env bash
[[ $1 =~ ^(Username|Password)\\ for\\ \\'https://([^/\\']*@)?([^@/\\']+)\\':\\ $ ]] || exit 1
host=\${BASH_REMATCH[3]}
if ! [[ $host =~ ^[a-zA-Z0-9]+((-+|[.:])[a-zA-Z0-9]+)*$ ]]; then
  echo "[mcli] $host asks for a token, and can have none: only hosts of letters, digits, - and . can" >&2
  exit 1
fi
variable=GIT_TOKEN_\${host//:/___}
variable=\${variable//-/__}
variable=\${variable//./_}
variable=\${variable^^}
if [ -z "\${!variable:-}" ]; then
  echo "[mcli] $host asks for a token, and there is none: mcli create secret env $variable" >&2
  exit 1
fi
case $1 in
  Username*) echo x-access-token ;;
  *) echo "\${!variable}" ;;
esac
`;

export const ASKPASS_FILE: ContainerFile = { path: ASKPASS_PATH, content: ASKPASS, mode: 0o755 };
