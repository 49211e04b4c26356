/** A stack of cleanup functions, called in reverse order. Node 20 has no AsyncDisposableStack. */
export class CleanupStack implements AsyncDisposable {
  #undo: (() => unknown)[] = [];

  defer(undo: () => unknown): void {
    this.#undo.push(undo);
  }

  use<T extends AsyncDisposable>(resource: T): T {
    this.defer(() => resource[Symbol.asyncDispose]());
    return resource;
  }

  /** Moves all cleanup functions to a new stack; disposing this one then does nothing. */
  move(): CleanupStack {
    const moved = new CleanupStack();
    moved.#undo = this.#undo;
    this.#undo = [];
    return moved;
  }

  /** Calls every cleanup function, even when one fails, and then throws the first failure. */
  async [Symbol.asyncDispose](): Promise<void> {
    const failures: unknown[] = [];
    for (let undo = this.#undo.pop(); undo !== undefined; undo = this.#undo.pop()) {
      try {
        await undo();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}
