/**
 * Where the ranks of a gang hold on to each other: a line for each rank, which says to which gang it belongs. When one
 * hangs up, the others are hung up on, as a lost connection tells the ranks of a training; unless all have said good-bye.
 */
import net from 'node:net';
import { MEETING_WORDS } from './program.ts';

interface Meeting {
  readonly gang: string;
  readonly ranks: Set<net.Socket>;
  leaving: number;
}

export class MeetingPlace {
  readonly server: net.Server;
  private readonly meetings = new Map<string, Meeting>();
  private readonly size: number;

  /** @param size how many ranks a gang has */
  constructor(size: number) {
    this.size = size;
    this.server = net.createServer((socket) => this.receive(socket));
  }

  private receive(socket: net.Socket): void {
    let meeting: Meeting | undefined;
    let rest = '';
    socket.setEncoding('utf8');
    socket.on('error', () => undefined);
    socket.on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (meeting === undefined) meeting = this.join(line, socket);
        else if (line === MEETING_WORDS.leave) this.leave(meeting);
      }
    });
    socket.on('close', () => meeting && this.end(meeting));
  }

  private join(gang: string, socket: net.Socket): Meeting {
    const meeting = this.meetings.get(gang) ?? { gang, ranks: new Set(), leaving: 0 };
    this.meetings.set(gang, meeting);
    meeting.ranks.add(socket);
    if (meeting.ranks.size === this.size) tell(meeting, MEETING_WORDS.met);
    return meeting;
  }

  private end({ gang, ranks }: Meeting): void {
    this.meetings.delete(gang);
    for (const rank of ranks) rank.destroy();
  }

  private leave(meeting: Meeting): void {
    meeting.leaving += 1;
    if (meeting.leaving < this.size) return;
    tell(meeting, MEETING_WORDS.left);
    // Each hangs up by itself.
    meeting.ranks.clear();
  }
}

function tell({ ranks }: Meeting, word: string): void {
  for (const socket of ranks) socket.write(`${word}\n`);
}
