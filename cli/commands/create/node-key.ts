/** `mcli create node-key`: the private key of a node, made on the node; asks no server. */
import { addNodeKey } from '../../../stack/node-key.ts';
import type { CliContext } from '../../context.ts';
import { EXIT } from '../../errors.ts';

export async function createNodeKey(context: CliContext, file: string): Promise<number> {
  const { recipient, older } = await addNodeKey(file);
  context.say(`✔ Created a node key in ${file}; its public key is`);
  context.print(recipient);
  context.say(
    older === 0
      ? `i Name the file in MCLI_NODE_KEY_FILE of the node agent.`
      : `i ${older} older below it still open what is sealed to them; the log of the node agent says when they are no longer needed.`,
  );
  return EXIT.ok;
}
