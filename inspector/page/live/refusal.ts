/**
 * Says in words why something was refused or failed.
 *
 * Guarantees: the daemon's own words, with its hint; the status of an answer that has none.
 */

export async function refusalOf(answer: Response): Promise<string> {
  const text = await answer.text();
  try {
    const { error } = JSON.parse(text) as { error: { code: string; message: string; hint?: string } };
    return [`${error.code}: ${error.message}.`, error.hint ?? ''].join(' ').trim();
  } catch {
    return `the answer was ${answer.status}${text === '' ? '' : `: ${text.slice(0, 200)}`}`;
  }
}

export const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
