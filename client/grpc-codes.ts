/** What the errors of Temporal's server say, by the codes of gRPC. */
export const GRPC = { deadlineExceeded: 4, notFound: 5, unavailable: 14 };

export function grpcCode(error: unknown): unknown {
  return error !== null && typeof error === 'object' && 'code' in error ? error.code : undefined;
}
