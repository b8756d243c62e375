/**
 * The name of an attachment among the users of what attachments share.
 *
 * Guarantees: different for each pair of an owner and a network; neither has a space in it.
 */
export const attachmentKey = (owner: string, network: string): string => `${owner} ${network}`;
