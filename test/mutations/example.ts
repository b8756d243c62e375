/** What survey.test.ts tries its survey on: a program with one rule that example.test.ts shows, and one that it does not. */
export function sumBelow(limit: number): number {
  let sum = 0;
  for (let n = 0; n < limit; n++) sum += n;
  return sum;
}

export const isSmall = (n: number): boolean => n < 10;
