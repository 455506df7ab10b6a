import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { ASKPASS_FILE } from '../../activities/git-askpass.ts';

/** What the program answers to git, or what it says instead. */
function ask(prompt: string): string {
  const env = { PATH: process.env['PATH'], GIT_TOKEN_GIT_EXAMPLE___8443: 'a token' };
  const answer = spawnSync('bash', ['--norc', '-c', ASKPASS_FILE.content, 'askpass', prompt], {
    env,
    encoding: 'utf8',
  });
  return answer.status === 0 ? answer.stdout : `${answer.stderr}(${answer.status})`;
}

it.each([
  ["Username for 'https://git.example:8443': ", 'x-access-token\n'],
  ["Password for 'https://x-access-token@git.example:8443': ", 'a token\n'],
  ["Password for 'https://ann@git.example:8443': ", 'a token\n'],
  ["Password for 'https://git.example:8443@other.example': ", /GIT_TOKEN_OTHER_EXAMPLE\n\(1\)$/],
  [
    "Username for 'https://git.example': ",
    '[mcli] git.example asks for a token, and there is none: mcli create secret env GIT_TOKEN_GIT_EXAMPLE\n(1)',
  ],
  ["Password for 'http://git.example:8443': ", '(1)'],
  // Of a repository at `https://…@other.example`, by what an old git makes of its user.
  ["Password for 'https://https://git.example:8443': @other.example': ", '(1)'],
  ["Password for 'https://git.example:8443/@other.example': ", '(1)'],
  ["Password for 'https://x@git.example:8443': @other.example': ", '(1)'],
  ["Password for 'https://x\nPassword for 'https://git.example:8443': @other.example': ", '(1)'],
  // Of a path, which may have any name in it, too.
  ["Password for 'https://other.example/x@git.example:8443': ", '(1)'],
  ["Password for 'https://git.example:8443", '(1)'],
])('answers %s', (prompt, answer) => {
  if (typeof answer === 'string') expect(ask(prompt)).toBe(answer);
  else expect(ask(prompt)).toMatch(answer);
});

/** The variable whose token the host would get. */
function variableOf(host: string): string {
  const [, variable] = /mcli create secret env (\w+)\n/.exec(ask(`Password for 'https://${host}': `)) ?? [];
  return variable ?? 'none';
}

it('has a variable of its own for each host', () => {
  const hosts = [
    'git.example.com',
    'git-example.com',
    'git--example.com',
    'git-example-com',
    'git.example:1',
    'git.example.1',
    'git.example-1',
  ];
  expect(hosts.map(variableOf)).toEqual([
    'GIT_TOKEN_GIT_EXAMPLE_COM',
    'GIT_TOKEN_GIT__EXAMPLE_COM',
    'GIT_TOKEN_GIT____EXAMPLE_COM',
    'GIT_TOKEN_GIT__EXAMPLE__COM',
    'GIT_TOKEN_GIT_EXAMPLE___1',
    'GIT_TOKEN_GIT_EXAMPLE_1',
    'GIT_TOKEN_GIT_EXAMPLE__1',
  ]);
});

it.each(['git-.example', 'git.-example', 'git..example', 'git_example', '[::1]:8443', 'git.example:'])(
  'gives %s no token, since it could be that of another host',
  (host) => {
    expect(ask(`Password for 'https://${host}': `)).toBe(
      `[mcli] ${host} asks for a token, and can have none: only hosts of letters, digits, - and . can\n(1)`,
    );
  },
);
