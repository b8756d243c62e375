/**
 * The version of the format in which the journal of a container is exported (answers/container/history.ts).
 *
 * It is in a file of its own because the daemon writes it, and loads no schemas of answers for that.
 */
export const JOURNAL_VERSION = 1;
