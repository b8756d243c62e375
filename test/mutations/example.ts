/**
 * The program on which survey.test.ts tests its survey: one rule that example.test.ts covers, and one that it does not.
 */
export function sumBelow(limit: number): number {
  let sum = 0;
  for (let n = 0; n < limit; n++) sum += n;
  return sum;
}

export const isSmall = (n: number): boolean => n < 10;
