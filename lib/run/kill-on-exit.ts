const killers = new Set<() => void>();
let listening = false;

/** Has `kill` called when this process exits, by whatever way it still can. Returns what calls that off. */
export function killOnExit(kill: () => void): () => void {
  if (!listening) {
    listening = true;
    process.on('exit', () => {
      for (const killer of killers) killer();
    });
  }
  killers.add(kill);
  return () => killers.delete(kill);
}
