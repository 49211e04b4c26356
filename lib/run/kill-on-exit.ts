const killers = new Set<() => void>();
let listening = false;

/** Calls `kill` when this process exits, unless a signal kills it. Returns a function that cancels this. */
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
