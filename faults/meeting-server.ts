/** The program in the network of the containers. */
import { MeetingPlace } from './meeting-place.ts';
import { MEETING_PORT } from './program.ts';
import { NODE_COUNT } from './plan.ts';

new MeetingPlace(NODE_COUNT).server.listen(MEETING_PORT, '127.0.0.1', () => console.log('ready'));
