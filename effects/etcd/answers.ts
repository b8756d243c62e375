/**
 * Tells refusals from answers: etcd sends the one in the place of the other.
 *
 * Guarantees: a refusal has the code of gRPC's status (google.golang.org/grpc/codes), whatever way the gateway has written it.
 */

export interface Refusal {
  code: number;
  message: string;
}

export const NOT_FOUND = 5;
export const DENIED = 7;
export const PRECONDITION = 9;

export const isRefusal = (answer: object): answer is { refusal: Refusal } => 'refusal' in answer;
