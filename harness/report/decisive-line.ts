/** Returns the index of the line of a console that decided a verdict; undefined if the console does not have it. It is the last one
 *  that contains the text, because an earlier line may quote it. */
export function findDecisive(console: readonly string[], line: string | undefined): number | undefined {
  const wanted = line?.trim() ?? '';
  if (wanted === '') return undefined;
  const index = console.findLastIndex((one) => one.includes(wanted));
  return index < 0 ? undefined : index;
}
