/** Where the servers of the local stack listen: on this machine only. */
import type { StackPorts } from './config.ts';

export const LOOPBACK = '127.0.0.1';

export const temporalAddress = (ports: StackPorts): string => `${LOOPBACK}:${ports.temporal}`;
export const temporalHttpUrl = (ports: StackPorts): string => `http://${LOOPBACK}:${ports.temporalHttp}`;
export const webUiUrl = (ports: StackPorts): string => `http://${LOOPBACK}:${ports.temporalUi}`;
export const natsUrl = (ports: StackPorts): string => `nats://${LOOPBACK}:${ports.nats}`;
export const natsMonitorUrl = (ports: StackPorts): string => `http://${LOOPBACK}:${ports.natsMonitor}`;
